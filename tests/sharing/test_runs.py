"""Runs of MMF on the hub: whole ones, tuned ones, and runs that start from there."""

import getpass
import shutil
from pathlib import Path

import pytest
import torch
import yaml

import clipvil_mmf
from clipvil_mmf.checkpoints.native import TUNED, WEIGHTS
from clipvil_mmf.checkpoints.tuned import read_extra
from tests.bridge.runs import ROOT
from tests.e2e.conftest import impatience, run_mmf  # noqa: F401 (fixtures)
from tests.e2e.test_tuned_runs import tiny
from tests.sharing.test_round_trip import QUESTION, picture, push  # noqa: F401 (a fixture)

MARKER = "mark-of-this-machine"
START = "model_config.clipvil.pretrained"
LORA = "model_config.clipvil.tuning.method=lora"


@pytest.fixture(autouse=True)
def offline_of_the_true_hub(account, monkeypatch):
    """Vocabularies and data are files; the account may write."""
    monkeypatch.chdir(ROOT)


@pytest.fixture
def trained(tmp_path, run_mmf):  # noqa: F811
    """A run whose every path has a mark; its best update has been evaluated."""
    home = tmp_path / MARKER
    shutil.copytree(ROOT / "tests" / "fixtures" / "vqa2", home / "data")
    vocab = shutil.copy(ROOT / "tests" / "fixtures" / "vocab.txt", home)
    text = "dataset_config.vqa2.processors.text_processor.params.vocab"
    options = (f"{text}={vocab}", f"dataset_config.vqa2.data_dir={home / 'data'}")
    run_mmf(*tiny(home / "run", *options, "training.evaluation_interval=2"))
    return home / "run"


def answers(model, photo):
    return model.answer(photo, [QUESTION, "Is it red?"], top_k=4)


def pushed(hub, name):
    repo = hub.repos[name]
    return repo.commits[repo.refs["main"]]


def card_of(files):
    text = files["README.md"].decode()
    return yaml.safe_load(text.split("---")[1]), text


def test_a_whole_run(trained, account, picture, run_mmf, tmp_path, caplog):  # noqa: F811
    done = push(trained, "me/vqa2")
    assert done.exit_code == 0 and "a whole model" in done.output, done.output
    files = pushed(account, "me/vqa2")
    for private in (MARKER, str(tmp_path), str(Path.home()), f"/{getpass.getuser()}/"):
        assert [name for name in files if private.encode() in files[name]] == []
    metadata, text = card_of(files)
    (result,) = metadata["model-index"][0]["results"]
    assert result["dataset"] == {"name": "vqa2", "type": "vqa2", "split": "val"}
    (metric,) = result["metrics"]
    assert metric["type"] == "vqa_score" and f"| {metric['value']:.4f} |" in text
    assert "license" not in metadata
    assert "clipvil answer me/vqa2 photo.jpg" in text and "| batch size | 16 |" in text

    expected = answers(clipvil_mmf.from_pretrained(trained), picture)
    assert answers(clipvil_mmf.from_pretrained("me/vqa2"), picture) == expected

    # While it trains, the best weights so far can be pushed, which is said.
    (trained / "clipvil_final.pth").rename(tmp_path / "clipvil_final.pth")
    assert push(trained, "me/early").exit_code == 0
    assert f"{trained} has not ended: these are the weights of best.ckpt" in caplog.text
    (tmp_path / "clipvil_final.pth").rename(trained / "clipvil_final.pth")

    # Another run starts from it, and predicts with it as it is.
    options = (f"{START}=hf://me/vqa2", "run_type=test")
    trainer = run_mmf(*tiny(tmp_path / "next", *options), predict=True)
    state = torch.load(trained / "clipvil_final.pth", weights_only=True)
    assert torch.equal(
        trainer.model.network.fusion.embeddings.word.weight,
        state["network.fusion.embeddings.word.weight"],
    )


def test_a_tuned_run_beside_a_backbone_of_the_hub(trained, account, picture, run_mmf, tmp_path):  # noqa: F811
    push(trained, "me/vqa2")
    run = tmp_path / MARKER / "tuned"
    run_mmf(*tiny(run, f"{START}=hf://me/vqa2", LORA))
    expected = answers(clipvil_mmf.from_pretrained(run), picture)

    done = push(run, "me/tuned")
    assert "what lora has trained, for the backbone hf://me/vqa2" in done.output, done.output
    files = pushed(account, "me/tuned")
    assert TUNED in files and WEIGHTS not in files
    assert not [name for name in files if MARKER.encode() in files[name]]
    assert card_of(files)[0]["base_model"] == ["me/vqa2"]
    model = clipvil_mmf.from_pretrained("me/tuned")
    assert answers(model, picture) == expected

    # Merged, in the place of what was there.
    done = push(run, "me/tuned", "--merge")
    assert "a whole model: lora merged with its backbone" in done.output, done.output
    files = pushed(account, "me/tuned")
    assert WEIGHTS in files and TUNED not in files
    assert answers(clipvil_mmf.from_pretrained("me/tuned"), picture) == expected


def test_a_tuned_run_beside_a_backbone_here(trained, account, picture, run_mmf, tmp_path):  # noqa: F811
    run = tmp_path / MARKER / "tuned"
    run_mmf(*tiny(run, f"{START}={trained}", LORA))
    expected = answers(clipvil_mmf.from_pretrained(run), picture)
    done = push(run, "me/merged")
    assert "a whole model: lora merged with its backbone" in done.output, done.output
    assert answers(clipvil_mmf.from_pretrained("me/merged"), picture) == expected
    # Once the backbone is on the hub, it can be named.
    push(trained, "me/vqa2")
    done = push(run, "me/tuned", "--backbone", "hf://me/vqa2")
    assert "for the backbone hf://me/vqa2" in done.output, done.output
    folder = clipvil_mmf.checkpoints.fetched.model_path("me/tuned")
    assert read_extra(folder / TUNED)["backbone"]["name"] == "hf://me/vqa2"
    assert answers(clipvil_mmf.from_pretrained("me/tuned"), picture) == expected
    # Another backbone is not taken for it.
    done = push(run, "me/wrong", "--backbone", "hf://me/merged")
    assert done.exit_code == 1 and "me/wrong" not in account.repos
    assert "hf://me/merged is not the backbone" in done.output or "sha256" in done.output
