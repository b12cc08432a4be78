"""The server over HTTP: answers, refusals, and its end."""

from __future__ import annotations

import base64
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clipvil_mmf.cli.main import app
from clipvil_mmf.deploying.asking import Limits
from clipvil_mmf.deploying.service import Service
from tests.bridge.runs import ROOT
from tests.deploying.models import FIT_PAD, PHOTOS, QUESTIONS, small_model
from tests.deploying.test_asking import bomb, png

httpx = pytest.importorskip("httpx")
for _package in ("fastapi", "uvicorn", "python_multipart"):
    pytest.importorskip(_package)
import uvicorn  # noqa: E402
from fastapi.testclient import TestClient  # noqa: E402

from clipvil_mmf.deploying import server  # noqa: E402
from clipvil_mmf.deploying.server import build_app  # noqa: E402

FILE = png()
FORM = {"question": [QUESTIONS[0], QUESTIONS[1]], "top_k": "2"}


@pytest.fixture(scope="module")
def service():
    made = Service(Limits(upload=20_000, pixels=1_000_000, questions=3, question_length=100))
    made.start(small_model(images=FIT_PAD))
    return made


@pytest.fixture(scope="module")
def client(service):
    with TestClient(build_app(service), raise_server_exceptions=False) as one:
        yield one


def test_a_form_and_json_give_the_same(client, service) -> None:
    of_form = client.post("/answer", files={"image": FILE}, data=FORM)
    content = {"image": base64.b64encode(FILE).decode(), "question": FORM["question"], "top_k": 2}
    of_json = client.post("/answer", json=content)
    assert of_form.status_code == of_json.status_code == 200, of_form.text
    assert of_form.json() == of_json.json()
    expected = service.answerer.answer(PHOTOS[0], QUESTIONS[:2], top_k=2)
    for row, best in zip(of_form.json()["answers"], expected, strict=True):
        assert row["answer"] == best[0][0]
        assert row["confidence"] == pytest.approx(best[0][1], abs=1e-5)
        assert [label for label, _ in row["top_answers"]] == [label for label, _ in best]


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ({"data": FORM}, 415, "Content-Type: expected multipart/form-data or application/json."),
        ({"content": b""}, 415, "Content-Type"),
        ({"files": {"image": b"nothing"}, "data": FORM}, 400, "image: it cannot be decoded"),
        ({"files": {"image": bomb(9_000, 9_000)}, "data": FORM}, 413, "9000x9000 pixels"),
        ({"files": {"image": FILE}}, 400, "question: it is missing."),
        ({"files": {"image": FILE, "mask": FILE}, "data": FORM}, 400, "'mask': unknown field"),
        ({"files": [("image", FILE)] * 9, "data": FORM}, 400, "Too many files"),
        ({"files": {"image": FILE}, "data": {"question": ["a"] * 4}}, 413, "got 4 of them"),
        ({"files": {"image": FILE}, "data": {"question": ["a"] * 99}}, 400, "Too many fields"),
        ({"files": {"image": FILE}, "data": {"question": "a" * 101}}, 413, "101 characters"),
        ({"files": {"image": FILE}, "data": {"question": "a" * 9999}}, 400, "form cannot be read"),
        ({"files": {"image": b"a" * 25_000}, "data": FORM}, 413, "more than 0.0190735 MiB"),
        ({"files": {"image": b"a" * 99_999}, "data": FORM}, 413, "The request has more than"),
        ({"json": "text"}, 400, "not a JSON object"),
        ({"content": b"--x\r\n", "headers": {"Content-Type": "multipart/form-data"}}, 400, "form"),
        (
            {"content": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
            400,
            "",
        ),
    ],
)
def test_one_sentence_for_each_bad_request(client, options, status: int, message: str) -> None:
    reply = client.post("/answer", **options)
    assert reply.status_code == status, reply.text
    (error,) = reply.json().values()
    assert message in error and error.endswith(".") and "Traceback" not in error
    assert client.post("/answer", files={"image": FILE}, data=FORM).status_code == 200


def test_a_charset_that_decodes_nothing(client) -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="question"\r\n\r\nred?\r\n--x--\r\n'
    kind = "multipart/form-data; boundary=x; charset=undefined"
    reply = client.post("/answer", content=body, headers={"Content-Type": kind})
    assert reply.status_code == 400 and "unknown charset" in reply.json()["error"]


def test_headers_without_end(service, monkeypatch) -> None:
    """Such connections would be kept, or what they send, until the server has no room."""
    monkeypatch.setattr(server, "_HEAD_SECONDS", 0.2)
    options = {"lifespan": "off", "ws": "none", "log_level": "error"}
    run = uvicorn.Server(uvicorn.Config(build_app(service), http=server._Connection, **options))
    whole = b"GET /health HTTP/1.1\r\nHost: x\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=run.run, kwargs={"sockets": [listening]})
        thread.start()
        for sent in (b"", whole, whole + b"\r\n" + whole, whole + b"A: " + b"b" * 99_999):
            with socket.create_connection(listening.getsockname()) as client:
                client.settimeout(20)
                client.sendall(sent)
                reply = b""
                while part := client.recv(4096):
                    reply += part
            assert reply.count(b"200 OK") == sent.count(b"\r\n\r\n")
        run.should_exit = True
        thread.join()


def test_what_is_not_there(client) -> None:
    assert client.post("/answer/").status_code == 404
    assert client.get("/docs").json()["error"].startswith("Not Found: expected POST /answer")
    assert client.get("/answer").status_code == 405
    assert client.get("/openapi.json").status_code == 404


def test_health_and_metrics(client) -> None:
    assert client.get("/health").json()["status"] == "ready"
    reply = client.get("/metrics")
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    for line in reply.text.splitlines():
        assert re.fullmatch(r"# (HELP|TYPE) \w+ .+|\w+(\{\w+=\"[^\"]+\"\})? \S+", line), line
    assert "clipvil_ready 1\n" in reply.text


def test_too_many_are_told_to_come_later(service) -> None:
    busy = Service(Limits(waiting=1, timeout=20))
    busy.start(service.answerer)
    may = threading.Event()
    hook = service.answerer.network.register_forward_pre_hook(lambda *_: may.wait(20) and None)
    with TestClient(build_app(busy)) as client:
        first: list[int] = []
        send = threading.Thread(
            target=lambda: first.append(
                client.post("/answer", files={"image": FILE}, data=FORM).status_code
            )
        )
        send.start()
        while "clipvil_requests_in_progress 1" not in client.get("/metrics").text:
            time.sleep(0.01)
        reply = client.post("/answer", files={"image": FILE}, data=FORM)
        assert reply.status_code == 503 and reply.headers["retry-after"] == "1"
        may.set()
        send.join(20)
        assert first == [200]
    hook.remove()


def started(*arguments: str) -> tuple[subprocess.Popen, str]:
    """A server in a process of its own, which is ready, and its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "clipvil_mmf.cli.main", "serve", *arguments, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    )
    lines = [process.stdout.readline().strip() for _ in range(2)]
    assert lines[1] == "ready", lines
    return process, lines[0]


def test_the_command_ends_when_it_has_answered(imported: Path) -> None:
    """SIGTERM: a request that is there is answered, and the exit code is 0."""
    process, address = started(str(imported), "--max-wait", "1500")
    try:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
        assert httpx.get(f"{address}health").json()["status"] == "ready"
        found = []
        ask = threading.Thread(
            target=lambda: found.append(
                httpx.post(f"{address}answer", files={"image": FILE}, data=FORM, timeout=60)
            )
        )
        ask.start()
        while "clipvil_queue_requests 1" not in httpx.get(f"{address}metrics").text:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        ask.join(60)
        assert found[0].status_code == 200 and len(found[0].json()["answers"]) == 2
        assert process.wait(60) == 0
        assert process.stdout.read() == "stopped\n"
    finally:
        process.kill()


def test_the_end_waits_for_a_model_that_is_being_loaded(service, monkeypatch) -> None:
    """Else the process would be aborted, with a message of the C++ library."""
    begun, said = threading.Event(), []

    def interrupted(*_: object, **__: object) -> None:
        begun.wait(20)
        stopping.close()
        raise KeyboardInterrupt

    def load():
        begun.set()
        time.sleep(0.3)
        said.append("loaded")
        return service.answerer

    stopping = Service()
    monkeypatch.setattr(uvicorn.Server, "run", interrupted)
    server.serve(stopping, load, "127.0.0.1", 0, said.append)
    assert said[1:] == ["stopped", "loaded"]


LOADS_FOR_EVER = """
import signal, time
import clipvil_mmf
from clipvil_mmf.cli.main import app
signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run in the background
clipvil_mmf.from_pretrained = lambda *given: time.sleep(600)
app(["serve", "a-model", "--port", "0"])
"""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_model_that_is_being_loaded_for_long_is_not_waited_for(signum) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", LOADS_FOR_EVER],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    )
    try:
        address = process.stdout.readline().strip()
        while True:
            try:
                assert httpx.get(f"{address}health").json()["status"] == "loading"
                break
            except httpx.ConnectError:
                time.sleep(0.05)
        process.send_signal(signum)
        assert process.wait(60) == 0
        assert process.stdout.read() == "stopped\n"
    finally:
        process.kill()


def test_a_model_that_is_not_there() -> None:
    done = CliRunner().invoke(app, ["serve", "nowhere", "--port", "0"])
    assert done.exit_code == 1 and "error: nowhere: no such file or folder" in done.output


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = CliRunner().invoke(app, ["serve", "nowhere", "--port", port])
    assert done.exit_code == 1
    assert f"error: --host 127.0.0.1 --port {port}: Address already in use" in done.output


def test_a_name_that_no_machine_has() -> None:
    done = CliRunner().invoke(app, ["serve", "nowhere", "--host", "a..b\xe9"])
    assert done.exit_code == 1 and "error: --host a..b" in done.output


@pytest.mark.parametrize("option", ["--timeout", "--max-pixels", "--max-wait"])
def test_numbers_without_end(option: str) -> None:
    done = CliRunner().invoke(app, ["serve", "nowhere", option, "inf", "--port", "0"])
    assert done.exit_code == 2 and f"'{option}'" in done.output


def test_options_reach_the_service(monkeypatch) -> None:
    given = []
    monkeypatch.setattr(server, "serve", lambda *arguments: given.extend(arguments))
    options = ["--max-upload", "2", "--max-pixels", "3", "--timeout", "4", "--max-waiting", "5"]
    done = CliRunner().invoke(app, ["serve", "run", *options, "--host", "0.0.0.0"])
    assert done.exit_code == 0, done.output
    service, _, host, port, _ = given
    service.close()
    assert service.limits == Limits(2 * 2**20, 3_000_000, timeout=4, waiting=5)
    assert (host, port) == ("0.0.0.0", 8000)
