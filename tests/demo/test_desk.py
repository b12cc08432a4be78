"""What the page shows, without gradio."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image
from typer.testing import CliRunner

from clipvil_mmf.cli import demo
from clipvil_mmf.cli.main import app
from clipvil_mmf.data.images import BadImageError
from clipvil_mmf.demo import html
from clipvil_mmf.demo.desk import Desk, DeskError, shown, verdict
from clipvil_mmf.explaining import METHODS
from tests.explaining.asked import IMAGES, PHOTO, QUESTION, asked, solid


@pytest.fixture(scope="module")
def desk() -> Desk:
    return Desk(asked())


@pytest.mark.parametrize("method", METHODS)
def test_an_answer_with_maps(desk: Desk, method: str) -> None:
    seen = desk.look(PHOTO)
    found = desk.ask(seen, f" {QUESTION} ", method)
    assert found.question == QUESTION
    assert (found.answer, found.confidence) == desk.answerer.answer(PHOTO, QUESTION)[0]
    assert found.photo.size == found.map.size == (256, 205)
    assert len(found.word_maps) == (0 if method == "grad_cam" else 9)
    if method != "grad_cam":  # of which the map may be empty
        assert found.map.tobytes() != found.photo.tobytes()


def test_the_tower_runs_once_for_a_photo(desk: Desk) -> None:
    runs = []
    hook = desk.answerer.network.image_encoder.register_forward_hook(lambda *_: runs.append(1))
    seen = desk.look(PHOTO)
    for question in (QUESTION, "is it red?"):
        for method in METHODS:
            desk.ask(seen, question, method)
    hook.remove()
    assert len(runs) == 1


def test_visitors_at_once(desk: Desk) -> None:
    seen = [desk.look(PHOTO), desk.look(solid(30, 60))]
    expected = [desk.ask(one, QUESTION, "relevance").map.tobytes() for one in seen]
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(desk.ask, seen[n % 2], QUESTION, "relevance") for n in range(12)]
        found = [job.result().map.tobytes() for job in jobs]
    assert found == expected * 6


def test_what_a_visitor_forgot(desk: Desk) -> None:
    with pytest.raises(DeskError, match=r"Choose a photo first\."):
        desk.ask(None, QUESTION, "rollout")
    with pytest.raises(DeskError, match=r"Type a question first\."):
        desk.ask(desk.look(PHOTO), "  ", "rollout")


def test_a_broken_photo(desk: Desk, tmp_path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(BadImageError, match=r"broken\.png cannot be decoded"):
        desk.look(tmp_path / "broken.png")


def test_below_the_threshold_it_would_rather_not(desk: Desk) -> None:
    found = desk.ask(desk.look(PHOTO), QUESTION, "rollout")
    sure = verdict(found, 0.0)
    assert sure == f"{found.answer} ({100 * found.confidence:.0f}%)"
    assert verdict(found, 1.0).startswith("I would rather not answer: my best guess, ")
    assert "unsure" in html.answers(found, 1.0) and "unsure" not in html.answers(found, 0.0)
    assert html.answers(found, 0.5).count("clipvil-bar") == 5


def test_what_is_written_is_escaped(desk: Desk) -> None:
    found = desk.ask(desk.look(PHOTO), "<img src=x onerror=alert(1)> \"'?", "relevance")
    for part in (html.look(found), html.history([found]), html.answers(found, 0.5)):
        assert "<img src=x" not in part
    assert "&lt;" in html.look(found)


def test_words_have_buttons(desk: Desk) -> None:
    seen = desk.look(PHOTO)
    drawn = html.look(desk.ask(seen, "is it red?", "relevance"))
    texts = re.findall(r">([^<>]+)</button>", drawn)
    assert texts == ["the answer", "the photo", "is", "it", "red", "?"]
    assert len(set(re.findall(r'data-map="([^"]+)"', drawn))) > 3
    assert html.look(desk.ask(seen, "is it red?", "grad_cam")).count("disabled") == 4


def test_history_is_newest_first(desk: Desk) -> None:
    seen = desk.look(PHOTO)
    found = [desk.ask(seen, text, "rollout") for text in ("first?", "second?")]
    assert html.history(found).index("second?") < html.history(found).index("first?")


@pytest.mark.parametrize(
    ("size", "expected"), [((64, 32), (256, 128)), ((300, 400), (300, 400)), ((3000, 8), (640, 2))]
)
def test_photos_in_the_size_of_the_page(size, expected) -> None:
    assert shown(Image.new("RGB", size)).size == expected


def test_tasks_with_several_images_are_refused() -> None:
    with pytest.raises(ValueError, match="task nlvr2, with 2 images per question"):
        Desk(asked(task="nlvr2", images={**IMAGES, "image_transform": "stretch"}))


def test_examples_of_a_data_set() -> None:
    found = demo._examples("easy_vqa", "test", None)
    assert len(found) == len({image for image, _ in found}) == 8
    assert all(Image.open(image).size == (64, 64) and text for image, text in found)


def test_without_gradio(monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = CliRunner().invoke(app, ["demo", "nowhere"])
    assert result.exit_code == 1
    assert result.output == (
        "error: clipvil demo needs gradio, which is not installed: "
        'pip install "clipvil-mmf[demo]"\n'
    )
