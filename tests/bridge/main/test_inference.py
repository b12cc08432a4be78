"""``mmf_interactive`` and the class that it asks."""

import builtins
import logging

import pytest
from PIL import Image

import clipvil_mmf
from tests.checkpoints.conftest import publish  # noqa: F401 (a fixture)
from tests.test_hub import imported  # noqa: F401 (a fixture)

QUESTION = "What color is the man's umbrella?"


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.effect_noise((96, 64), 90).convert("RGB").save(path)
    return str(path)


def test_mmfs_inference_answers_by_a_model_of_a_plugin(imported, photo):  # noqa: F811
    from mmf.utils.inference import Inference

    expected = clipvil_mmf.from_pretrained(imported).answer(photo, QUESTION, top_k=1)[0][0]
    inference = Inference(checkpoint_path=str(imported))
    assert inference.forward(photo, {"text": QUESTION}) == expected
    with pytest.raises(ValueError, match=r"gone\.png does not exist"):
        inference.forward("gone.png", {"text": QUESTION})


def test_mmf_interactive(imported, photo, monkeypatch, caplog):  # noqa: F811
    from mmf_cli.interactive import interactive

    said = iter([photo, QUESTION, "", "Is it red?", "exit"])
    monkeypatch.setattr(builtins, "input", lambda: next(said))
    monkeypatch.setattr("mmf_cli.interactive.setup_logger", lambda: None)
    caplog.set_level(logging.INFO)
    interactive([f"checkpoint_path={imported}"])
    answers = clipvil_mmf.from_pretrained(imported).answer(photo, [QUESTION, "Is it red?"], top_k=1)
    replies = [line for line in caplog.messages if line.startswith("Model response")]
    assert replies == [f"Model response: {found[0][0]}" for found in answers]


def test_other_models_go_mmfs_way(tmp_path):
    """MMF says what it expects."""
    from mmf.utils.inference import Inference

    with pytest.raises(ValueError, match="must hold one checkpoint"):
        Inference(checkpoint_path=str(tmp_path))
