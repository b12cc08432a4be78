"""The page's functions, and the command that starts it; without a browser."""

from __future__ import annotations

import os
import socket

import pytest
from typer.testing import CliRunner

gradio = pytest.importorskip("gradio")

import clipvil_mmf  # noqa: E402
from clipvil_mmf.cli.main import app  # noqa: E402
from clipvil_mmf.demo import page  # noqa: E402
from clipvil_mmf.demo.desk import Desk  # noqa: E402
from tests.explaining.asked import PHOTO, QUESTION, asked  # noqa: E402


@pytest.fixture(scope="module")
def functions():
    built = page.build(Desk(asked()), threshold=0.0)
    return {function.name: function.fn for function in built.fns.values()}


@pytest.fixture
def photo(tmp_path) -> str:
    PHOTO.save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


def test_a_visit(functions, photo: str) -> None:
    seen, drawn, answers, nothing = functions["opened"](photo)
    assert 'alt="The photo"' in drawn and not answers and nothing is None
    seen, found, history, drawn, answers, _ = functions["ask"](
        photo, seen, QUESTION, "relevance", 0.0, []
    )
    assert found.answer in answers and QUESTION.split()[0] in drawn and len(history) == 1
    again, other = functions["other_method"](seen, found, "rollout")
    assert again.explanation.method == "rollout" and other != drawn
    assert "rather not" in functions["other_threshold"](found, 1.0)
    assert functions["opened"](None) == (None, "", "", None)


def test_a_question_before_its_photo_was_looked_at(functions, photo: str) -> None:
    seen, found, *_ = functions["ask"](photo, None, QUESTION, "rollout", 0.0, [])
    assert seen is not None and found.question == QUESTION


def test_errors_are_for_visitors(functions, tmp_path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(gradio.Error, match=r"Image broken\.png cannot be decoded") as raised:
        functions["opened"](str(tmp_path / "broken.png"))
    assert str(tmp_path) not in str(raised.value)
    with pytest.raises(gradio.Error, match="Choose a photo first"):
        functions["ask"](None, None, QUESTION, "rollout", 0.0, [])


def test_nothing_is_told_elsewhere() -> None:
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert page.options()["share"] is False


@pytest.mark.parametrize("host", ["192.0.2.1", "no machine"])
def test_an_address_that_cannot_be_had(monkeypatch, host: str) -> None:
    monkeypatch.setattr(clipvil_mmf, "from_pretrained", None)  # it is not come to
    result = CliRunner().invoke(app, ["demo", "run", "--host", host])
    assert result.exit_code == 1
    assert f"error: --host {host} --port 7860: " in result.output


def test_the_command(monkeypatch) -> None:
    launched = {}

    def launch(self, **options):
        launched.update(options)
        return None, "http://127.0.0.1:7860/", None

    monkeypatch.setattr(clipvil_mmf, "from_pretrained", lambda *given: asked())
    monkeypatch.setattr(gradio.Blocks, "launch", launch)
    monkeypatch.setattr("clipvil_mmf.cli.demo.listen", lambda host, port: socket.socket())
    monkeypatch.setattr(gradio.Blocks, "block_thread", lambda self: None)
    result = CliRunner().invoke(app, ["demo", "run", "--examples", "easy_vqa", "--max-upload", "5"])
    assert result.exit_code == 0, result.output
    assert result.stdout == "http://127.0.0.1:7860/ (Ctrl-C ends it)\n"
    assert launched["server_name"] == "127.0.0.1" and launched["max_file_size"] == "5mb"
    assert launched["share"] is False
