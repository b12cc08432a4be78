"""What an image may be, and what is said of one that is not."""

from __future__ import annotations

import io
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clipvil_mmf.data.images import BadImageError, FitPad
from clipvil_mmf.inference import fetching
from clipvil_mmf.inference.pictures import picture_key, read_picture

TRANSFORM = FitPad(32, 48)
PIXELS = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
GREY = np.ascontiguousarray(PIXELS[..., 0])


def png(pixels: np.ndarray = PIXELS) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def read(image):
    return read_picture(image, TRANSFORM)


class Handler(BaseHTTPRequestHandler):
    """Answers of every kind."""

    def do_GET(self):
        if self.path == "/gone.png":
            return self.send_error(404)
        if self.path == "/moved.png":
            self.send_response(301)
            self.send_header("Location", "/a.png")
            return self.end_headers()
        self.send_response(200)
        self.end_headers()
        content = {"/a.png": png(), "/page.png": b"<html>", "/large.png": bytes(5000)}
        if self.path in content:
            return self.wfile.write(content[self.path])
        self.server.waiting.wait(20)  # says nothing more
        return None

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.waiting = threading.Event()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.waiting.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_all_ways_to_give_an_image_are_one(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    expected = read(Image.fromarray(PIXELS))
    assert expected.shape == (3, 32, 48)
    file = io.BytesIO(png())
    file.read()  # by somebody else
    with (tmp_path / "a.png").open("rb") as opened:
        for image in (
            *(tmp_path / "a.png", str(tmp_path / "a.png"), opened, file, png(), bytearray(png())),
            *(PIXELS, torch.from_numpy(PIXELS).permute(2, 0, 1), memoryview(png())),
            np.dstack([PIXELS, np.full((40, 60), 255, np.uint8)]),  # opaque
        ):
            assert np.array_equal(read(image), expected), type(image)
    grey = read(Image.fromarray(GREY))
    for image in (GREY, GREY[..., None], torch.from_numpy(GREY), torch.from_numpy(GREY)[None]):
        assert np.array_equal(read(image), grey)


def test_an_address(server: str) -> None:
    for name in ("a.png", "moved.png"):
        assert np.array_equal(read(f"{server}/{name}"), read(PIXELS))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.png", "could not be fetched: the server answers 404 Not Found"),
        ("page.png", "cannot be decoded"),
        ("large.png", "could not be fetched: it has more than 0.000976562 MiB"),
        ("silent.png", "could not be fetched"),
    ],
)
def test_addresses_without_an_image(server, name, message, monkeypatch) -> None:
    monkeypatch.setattr(fetching, "SILENCE", 0.2)
    if name == "large.png":
        monkeypatch.setattr(fetching, "LARGEST", 1024)
    with pytest.raises(BadImageError, match=f"Image {server}/{name} {message}"):
        read(f"{server}/{name}")


def test_addresses_that_nobody_answers(server) -> None:
    with pytest.raises(BadImageError, match="could not be fetched: ConnectionError"):
        read("http://127.0.0.1:1/a.png")
    with pytest.raises(BadImageError, match="its scheme is file; expected http or https"):
        read("file:///etc/passwd")


def test_an_answer_that_drips_has_an_end(server, monkeypatch) -> None:
    monkeypatch.setattr(fetching, "PATIENCE", -1)
    with pytest.raises(BadImageError, match="it was not here after -1 seconds"):
        read(f"{server}/a.png")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (b"no image", r"The image in 8 bytes cannot be decoded"),
        (png()[:60], r"The image in 60 bytes cannot be decoded"),
        (b"", r"The image in 0 bytes cannot be decoded"),
        (
            io.StringIO("text"),
            "cannot be decoded: the file is open as text; open it with mode 'rb'",
        ),
        (PIXELS.astype(np.float32) / 255, r"shape \(40, 60, 3\) is of float32; expected uint8"),
        (PIXELS[None], r"shape \(1, 40, 60, 3\): expected one of shape \(H, W\)"),
        (torch.from_numpy(PIXELS), r"shape \(40, 60, 3\): expected one of .*\(3, H, W\)"),
        (PIXELS[:0], r"shape \(0, 60, 3\): expected one of"),
        ("gone.png", r"Image gone.png does not exist; expected an image file, an http\(s\) addr"),
        ("/dev/null", "Image /dev/null cannot be decoded: it is not a file"),
    ],
)
def test_what_is_not_an_image_is_named(image, message) -> None:
    with pytest.raises(BadImageError, match=message) as raised:
        read(image)
    assert "on_bad_image" not in str(raised.value)  # a key of yaml files


def test_the_same_image_has_the_same_key(tmp_path: Path) -> None:
    assert picture_key(tmp_path / "a.png") == picture_key(str(tmp_path / "a.png"))
    assert picture_key(png()) == picture_key(png()) != picture_key(png(GREY))
    assert picture_key(PIXELS) == picture_key(PIXELS) != picture_key(PIXELS.copy())
