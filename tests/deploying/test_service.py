"""A model behind its queue, without HTTP."""

from __future__ import annotations

import ast
import asyncio
import gc
import io
import json
import math
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any
from urllib import request

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from clipvil_mmf.cli.main import app
from clipvil_mmf.deploying.asking import Asked, Limits, RefusedError, from_json
from clipvil_mmf.deploying.metrics import Histogram
from clipvil_mmf.deploying.service import Reply, Service
from tests.deploying.models import FIT_PAD, PHOTOS, QUESTIONS, shown, small_model
from tests.deploying.test_asking import bomb, png
from tests.docs.blocks import blocks

FILES = [png(photo) for photo in PHOTOS]


def ask(service: Service, image: bytes | tuple[bytes, ...], *questions: str, **options: Any) -> Any:
    """A request, as a coroutine of its reply."""
    images = image if isinstance(image, tuple) else (image,)

    async def receive() -> Asked:
        return Asked(images, questions, **options)

    return service.reply(receive)


def together(*requests: Coroutine[Any, Any, Reply]) -> list[Reply]:
    """The replies to requests that come at the same time."""

    async def all_of_them() -> list[Reply]:
        return await asyncio.gather(*requests)

    return asyncio.run(all_of_them())


@pytest.fixture
def make():
    made = []

    def service(kind: str = "resnet", limits: Limits | None = None, **options: Any) -> Service:
        made.append(Service(limits, **options))
        made[-1].start(small_model(kind, FIT_PAD if kind == "resnet" else {}) if kind else None)
        return made[-1]

    yield service
    for one in made:
        one.close()


def test_requests_at_once_are_one_pass(make) -> None:
    """The answers are those of the model; the tower runs once for an image of several requests."""
    service = make(max_wait=5, max_batch=6)
    seen: list[int] = []
    encoder = service.answerer.network.image_encoder
    encoder.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    replies = together(
        ask(service, FILES[0], QUESTIONS[0], top_k=2),
        ask(service, FILES[0], *QUESTIONS),
        ask(service, FILES[1], QUESTIONS[1], top_k=13),
        ask(service, FILES[0], QUESTIONS[1]),
    )
    assert seen == [1, 1]  # landscape, portrait
    assert [reply.status for reply in replies] == [200] * 4
    for reply, photo, questions, top_k in zip(
        replies,
        (PHOTOS[0], PHOTOS[0], PHOTOS[1], PHOTOS[0]),
        (QUESTIONS[:1], QUESTIONS, QUESTIONS[1:2], QUESTIONS[1:2]),
        (2, 5, 13, 5),
        strict=True,
    ):
        expected = service.answerer.answer(photo, questions, top_k=top_k)
        for row, question, best in zip(reply.content["answers"], questions, expected, strict=True):
            assert row["question"] == question
            assert row["answer"] == best[0][0]
            assert row["confidence"] == pytest.approx(best[0][1], abs=1e-5)
            assert [label for label, _ in row["top_answers"]] == [label for label, _ in best]
    text = service.metrics.text()
    assert 'clipvil_requests_total{status="200"} 4\n' in text
    assert "clipvil_batch_questions_sum 6\nclipvil_batch_questions_count 1\n" in text


def test_a_question_about_two_images(make) -> None:
    service = make("two passes")
    (reply,) = together(ask(service, (FILES[0], png(PHOTOS[0].rotate(180))), QUESTIONS[0]))
    best = service.answerer.answer(shown(service.answerer, PHOTOS[0]), QUESTIONS[0])
    assert reply.content["answers"][0]["answer"] == best[0][0]
    (reply,) = together(ask(service, FILES[0], QUESTIONS[0]))
    assert reply == Reply(400, {"error": "image: got 1 image, expected 2."})


def test_a_refused_image_does_not_stay(make) -> None:
    """Its pixels are gone with the reply, not when Python collects garbage."""
    service = make()

    def pictures() -> int:
        return sum(isinstance(one, Image.Image) for one in gc.get_objects())

    together(ask(service, bomb(100, 100), QUESTIONS[0]))  # what is made once
    gc.collect()
    gc.disable()
    try:
        before = pictures()
        replies = together(*(ask(service, bomb(100, 100), QUESTIONS[0]) for _ in range(8)))
        assert {reply.status for reply in replies} == {400}
        assert pictures() - before < 4  # of 8 and more; a thread may hold its last one
    finally:
        gc.enable()


def test_below_the_threshold_there_is_no_answer(make) -> None:
    service = make(threshold=1.0)
    unsure, sure = together(
        ask(service, FILES[0], QUESTIONS[0]), ask(service, FILES[0], QUESTIONS[0], threshold=0.0)
    )
    assert unsure.content["answers"][0]["answer"] is None
    assert sure.content["answers"][0]["answer"] == sure.content["answers"][0]["top_answers"][0][0]


def test_no_more_than_may_wait(make) -> None:
    service = make(limits=Limits(waiting=2))
    replies = together(*(ask(service, FILES[0], QUESTIONS[0]) for _ in range(4)))
    assert [reply.status for reply in replies] == [200, 200, 503, 503]
    assert replies[3] == Reply(503, {"error": "2 requests are waiting already."}, 1)
    assert together(ask(service, FILES[0], QUESTIONS[0]))[0].status == 200


def test_a_request_waits_no_longer_than_it_may(make) -> None:
    service = make(limits=Limits(timeout=0.05))
    may = threading.Event()
    service.answerer.network.register_forward_pre_hook(lambda *_: may.wait(30) and None)
    (late,) = together(ask(service, FILES[0], QUESTIONS[0]))
    may.set()
    assert late == Reply(503, {"error": "There was no answer within 0.05 seconds."}, 1)

    async def never() -> Asked:
        await asyncio.sleep(30)

    (slow,) = together(service.reply(never))
    assert slow == Reply(408, {"error": "The request was not complete within 0.05 seconds."})


def test_a_failure_is_not_told(make, caplog) -> None:
    service = make()

    def fail(*given: Any) -> None:
        raise RuntimeError("/secret/path")

    hook = service.answerer.network.register_forward_pre_hook(fail)
    (reply,) = together(ask(service, FILES[0], QUESTIONS[0]))
    assert reply == Reply(500, {"error": "The server failed to answer; its log says why."})
    assert "/secret/path" in caplog.text
    hook.remove()
    assert together(ask(service, FILES[0], QUESTIONS[0]))[0].status == 200


def test_before_and_after(make) -> None:
    service = Service()
    assert service.health() == Reply(503, {"status": "loading"})
    (early,) = together(ask(service, FILES[0], QUESTIONS[0]))
    assert early == Reply(503, {"error": "The server is loading."}, 1)
    service.start(small_model())
    expected = {"task": "vqa", "answers": 13, "images_per_question": 1}
    assert service.health() == Reply(200, {"status": "ready", **expected})
    service.close()
    assert service.health().content["status"] == "stopping"
    (late,) = together(ask(service, FILES[0], QUESTIONS[0]))
    assert late == Reply(503, {"error": "The server is stopping."}, 1)


def test_closing_answers_what_is_there(make) -> None:
    service = make(max_wait=30)

    async def closing() -> Reply:
        request = asyncio.ensure_future(ask(service, FILES[0], QUESTIONS[0]))
        while not len(service._batcher):
            await asyncio.sleep(0.01)
        await asyncio.get_running_loop().run_in_executor(None, service.close)
        return await request

    assert asyncio.run(closing()).status == 200


def test_refusals_are_counted(make) -> None:
    service = make()

    async def refuse() -> Asked:
        raise RefusedError(413, "Too much.")

    assert together(service.reply(refuse)) == [Reply(413, {"error": "Too much."})]
    assert 'clipvil_requests_total{status="413"} 1' in service.metrics.text()


def test_a_histogram() -> None:
    found = Histogram((1.0, 2.5))
    for value in (0.5, 1, 2, 9):
        found.add(value)
    assert found.lines("h") == [
        'h_bucket{le="1"} 2',
        'h_bucket{le="2.5"} 3',
        'h_bucket{le="+Inf"} 4',
        "h_sum 12.5",
        "h_count 4",
    ]


def test_the_snippet_of_the_page(make, tmp_path: Path, monkeypatch, capsys) -> None:
    """Without HTTP between client and service."""
    service = make()

    def urlopen(sent: request.Request) -> io.BytesIO:
        async def receive() -> Asked:
            assert sent.headers == {"Content-type": "application/json"}
            return from_json(sent.data, service.limits)

        (reply,) = together(service.reply(receive))
        return io.BytesIO(json.dumps(reply.content).encode())

    monkeypatch.setattr(request, "urlopen", urlopen)
    monkeypatch.chdir(tmp_path)
    Path("photo.jpg").write_bytes(FILES[0])
    (text,) = [block.text for block in blocks("python") if "127.0.0.1:8000" in block.text]
    exec(compile(text, "deployment.md", "exec"), {})
    rows = ast.literal_eval(capsys.readouterr().out)
    expected = service.answerer.answer(PHOTOS[0], [row["question"] for row in rows], top_k=2)
    assert [row["answer"] for row in rows] == [best[0][0] for best in expected]
    assert [len(row["top_answers"]) for row in rows] == [2, 2]


def test_packages_that_are_not_installed(monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = CliRunner().invoke(app, ["serve", "nowhere"])
    assert done.exit_code == 1
    assert 'uvicorn, python-multipart, which is not installed: pip install "clipvil' in done.output


def test_a_model_that_computes_no_numbers() -> None:
    broken = small_model()
    torch.nn.init.constant_(broken.network.classifier.output.bias, math.nan)
    service = Service()
    with pytest.raises(ValueError, match="gives nan as a confidence"):
        service.start(broken)
    service.close()
