"""Serves the page on this machine: nothing but the page, its images and the exported files."""

from __future__ import annotations

import io
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from clipvil_mmf.browsing import html
from clipvil_mmf.browsing.export import ids_json, questions_json
from clipvil_mmf.browsing.filters import FilterError
from clipvil_mmf.browsing.view import Browser
from clipvil_mmf.data.image_files import eight_bit, opened_image

logger = logging.getLogger(__name__)

_SHOWN_BY_BROWSERS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
_HTML = "text/html; charset=utf-8"
_PIECE = 1 << 16  # characters of an exported file that are sent at once
# Nothing is loaded from elsewhere, and no script runs, whatever a question file says.
_POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Server(ThreadingHTTPServer):
    """The page of a browser; ``serve_forever`` answers until it is interrupted.

    Args:
        browser: what it shows.
        commands: what can be done with the exported questions.
        host: 127.0.0.1 for this machine alone.
        port: 0 for a free one.

    Raises:
        ValueError: the port is taken, or the address is none of this machine's.
    """

    daemon_threads = True

    def __init__(self, browser: Browser, commands: Sequence[str], host: str, port: int) -> None:
        self.browser, self.commands, self.host = browser, commands, host
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except (OSError, TypeError) as e:  # the latter: no machine can be called so
            why = getattr(e, "strerror", None) or e
            raise ValueError(
                f"http://{host}:{port}/ cannot be opened: {why}. Give another --port, "
                "such as 0 for a free one, or another --host"
            ) from e

    def server_bind(self) -> None:
        """Bind without asking the network for this machine's name, as the standard library does."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.host, self.server_address[1]

    @property
    def address(self) -> str:
        """Where the page is."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.server_address[1]}/"

    def is_mine(self, host: str | None) -> bool:
        """Whether a request's ``Host`` is this page's.

        On this machine alone, another site's name may lead here too: its scripts are not answered.
        """
        if self.host not in _LOOPBACK:
            return True
        name = urlsplit(f"//{host or ''}").hostname
        return name in _LOOPBACK

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over visitors who leave; other errors go to the log."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            logger.exception("A request could not be answered")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds without a request
    server: Server

    def do_GET(self) -> None:
        """Answer a request."""
        try:
            is_mine = self.server.is_mine(self.headers.get("Host"))
            path, query = urlsplit(self.path).path, urlsplit(self.path).query
        except ValueError:
            self._say(400, "The address cannot be read.")
            return
        if not is_mine:
            self._say(403, "This page is for this machine alone.")
            return
        routes: dict[str, Callable[[str], None]] = {
            "/": self._page,
            "/ids.json": lambda query: self._export(query, ids_json),
            "/questions.json": lambda query: self._export(query, questions_json),
        }
        try:
            if path in routes:
                routes[path](query)
            elif path.startswith("/image/"):
                self._image(path.removeprefix("/image/"))
            else:
                self._say(404, f"There is nothing at {path}.")
        except FilterError as error:
            self._say(400, f"{error}.")
        except ConnectionError:
            raise
        except Exception:
            logger.exception("%s could not be answered", self.path)
            self._say(500, "This could not be answered; the console says why.")

    do_HEAD = do_GET  # noqa: N815 (the standard library's name)

    def _page(self, query: str) -> None:
        filters = self.server.browser.read_filters(query)
        if filters.query != query:  # one address for the same questions, without what is empty
            self.send_response(302)
            self.send_header("Location", f"/?{filters.query}" if filters.query else "/")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._send(200, html.page(self.server.browser, filters, self.server.commands))

    def _export(self, query: str, write: Callable[..., Iterator[str]]) -> None:
        browser = self.server.browser
        pieces = write(browser.questions, browser.rows(browser.read_filters(query).key))
        self.send_response(200)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Connection", "close")  # its length is not known
        self.end_headers()
        if self.command != "HEAD":
            for piece in _joined(pieces):
                self.wfile.write(piece.encode())

    def _image(self, number: str) -> None:
        questions = self.server.browser.questions
        is_number = number.isascii() and number.isdecimal() and len(number) < 10
        if not is_number or int(number) >= questions.table.image_count:
            self._say(404, "There is no such image.")
            return
        file = questions.image_file(int(number))
        # Not Path.is_file, which raises for a path that the system does not take.
        if file is None or not os.path.isfile(file):
            self._say(404, f"The image {questions.table.image_path(int(number))} is not there.")
            return
        try:
            with opened_image(file) as image:
                kind = image.format or ""
                if kind in _SHOWN_BY_BROWSERS:
                    content = file.read_bytes()
                else:
                    kind, content = "PNG", _as_png(image)
        # Damaged files raise whatever their half-read bytes lead to.
        except Exception as error:  # noqa: BLE001
            self._say(404, f"{file.name} cannot be read: {error}")
            return
        self._send(200, content, Image.MIME[kind])

    def _say(self, status: int, message: str) -> None:
        self._send(status, html.error_page(self.server.browser.questions.name, message))

    def _send(self, status: int, content: str | bytes, kind: str = _HTML) -> None:
        body = content.encode() if isinstance(content, str) else content
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        # The same address may be another data set's tomorrow.
        self.send_header("Cache-Control", "no-cache")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the console is the user's."""


def _as_png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    eight_bit(image).convert("RGB").save(file, "PNG")
    return file.getvalue()


def _joined(pieces: Iterable[str]) -> Iterator[str]:
    """Pieces of a useful size."""
    held: list[str] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= _PIECE:
            yield "".join(held)
            held, size = [], 0
    yield "".join(held)
