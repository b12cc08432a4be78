"""The HTTP side of a :class:`Service`: FastAPI and uvicorn."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect
from uvicorn.protocols.http.h11_impl import H11Protocol

from clipvil_mmf.addresses import listen
from clipvil_mmf.deploying.asking import FIELDS, Asked, RefusedError, from_form, from_json
from clipvil_mmf.deploying.metrics import CONTENT_TYPE
from clipvil_mmf.deploying.service import READY, Reply, Service
from clipvil_mmf.hub import Answerer

# How much more than a request may have is read and dropped, so that the client hears why.
_PATIENCE = 4
_HEAD_SECONDS = 30.0  # for the headers of a request
_LOADING_SECONDS = 2.0  # that a model may still take when the server is to end


class _Connection(H11Protocol):
    """Closes a connection whose request does not begin; uvicorn would keep it for ever.

    Its base reads 64 KiB of headers at most, which uvicorn's other protocol does not limit.
    """

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._check = self.loop.call_later(_HEAD_SECONDS, self._close_if_silent)

    def connection_lost(self, exc: Exception | None) -> None:
        self._check.cancel()
        super().connection_lost(exc)

    def _close_if_silent(self) -> None:
        is_first = self.cycle is None
        # Between two requests uvicorn counts the seconds until something comes.
        if is_first or (self.cycle.response_complete and self.conn.trailing_data[0]):
            self.transport.close()
        else:
            self._check = self.loop.call_later(_HEAD_SECONDS, self._close_if_silent)


def build_app(service: Service) -> FastAPI:
    """``POST /answer``, ``GET /health`` and ``GET /metrics`` of a service.

    Nothing of it loads scripts of other servers, as FastAPI's pages of documentation do.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        yield
        await asyncio.get_running_loop().run_in_executor(None, service.close)

    app = FastAPI(
        lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False
    )

    @app.post("/answer")
    async def answer(request: Request) -> Response:
        return _response(await service.reply(lambda: _receive(request, service)))

    @app.get("/health")
    async def health() -> Response:
        return _response(service.health())

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> Response:
        message = f"{error.detail}: expected POST /answer, GET /health or GET /metrics."
        return JSONResponse({"error": message}, error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": "The server failed to answer; its log says why."}, 500)

    return app


def serve(
    service: Service, load: Callable[[], Answerer], host: str, port: int, say: Callable[[str], None]
) -> None:
    """Answer on a port until a signal; then finish what is there.

    Args:
        service: without a model yet.
        load: gives it; called when the port is open, so that ``/health`` tells of it.
        host: an address of this machine.
        port: 0 for a free one.
        say: is given lines for people.

    Raises:
        OSError: the port cannot be had.
        Exception: what ``load`` raises.
    """
    listening = listen(host, port, backlog=2048)
    # It, and uvicorn, warn of each broken request, as often as clients like.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    config = uvicorn.Config(
        build_app(service),
        http=_Connection,
        ws="none",
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=int(service.limits.timeout) + 1,
    )
    server = uvicorn.Server(config)
    failures: list[Exception] = []

    def start() -> None:
        try:
            service.start(load())
            if service.state == READY:
                say("ready")
        except Exception as error:  # noqa: BLE001 (it is raised below)
            failures.append(error)
            server.should_exit = True

    say(f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}/")
    loading = threading.Thread(target=start, name="clipvil-load", daemon=True)
    try:
        loading.start()
        with _ended_by_hangup(server):
            server.run(sockets=[listening])
    # uvicorn repeats the signal when all is finished.
    except (KeyboardInterrupt, SystemExit):
        pass
    finally:
        listening.close()
    if not failures:
        say("stopped")
    loading.join(_LOADING_SECONDS)
    if loading.is_alive():
        # A model that is being loaded is not waited for, and an interpreter that ends while a
        # thread is in torch is aborted: the process ends at once. Nothing is left to finish.
        sys.stdout.flush()
        os._exit(0)
    if failures:
        raise failures[0]


@contextmanager
def _ended_by_hangup(server: uvicorn.Server) -> Iterator[None]:
    """Let SIGHUP end the server as Ctrl-C does; ignored, as nohup has it, it stays so."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        yield
        return
    before = signal.signal(signal.SIGHUP, server.handle_exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _response(reply: Reply) -> Response:
    headers = {} if reply.retry_after is None else {"Retry-After": str(reply.retry_after)}
    return JSONResponse(reply.content, reply.status, headers)


async def _receive(request: Request, service: Service) -> Asked:
    """The request, read as far as the limits allow."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await _body(request, service.limits.body(service.images))
    if kind == "application/json":
        return from_json(body, service.limits)
    if kind == "multipart/form-data":
        return from_form(await _form(request, body, service), service.limits)
    raise RefusedError(415, "Content-Type: expected multipart/form-data or application/json.")


async def _body(request: Request, most: int) -> bytes:
    """The body; what is longer is dropped as it comes."""
    found, size = bytearray(), 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > _PATIENCE * most:
                break
            if size <= most:
                found += part
            else:
                found.clear()
    except ClientDisconnect as error:
        raise RefusedError(400, "The request ended early.") from error
    if size > most:
        raise RefusedError(413, f"The request has more than {most / 2**20:.1f} MiB.")
    return bytes(found)


async def _form(request: Request, body: bytes, service: Service) -> list[tuple[str, Any]]:
    """The fields of a form, whose files are kept in memory."""

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    limits = service.limits
    most = limits.questions + len(FIELDS)
    parser = MultiPartParser(
        *(request.headers, stream()),
        max_files=service.images + 1,
        max_fields=most + 1,
        max_part_size=8 * limits.question_length,
    )
    parser.spool_max_size = len(body) + 1
    try:
        form = await parser.parse()
    except (MultiPartException, UnicodeError) as error:  # the latter of charsets such as undefined
        message = getattr(error, "message", "unknown charset")
        raise RefusedError(400, f"The form cannot be read: {message}") from error
    return [
        (name, await value.read() if isinstance(value, UploadFile) else value)
        for name, value in form.multi_items()
    ]
