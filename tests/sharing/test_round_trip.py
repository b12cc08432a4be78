"""A model to the hub and back, by huggingface_hub's own code and a server on this machine."""

import pytest
import yaml
from huggingface_hub import constants
from omegaconf import OmegaConf
from PIL import Image
from typer.testing import CliRunner

import clipvil_mmf
from clipvil_mmf.cli.main import app
from clipvil_mmf.sharing.repositories import HubError
from tests.sharing.hub_server import TOKEN

QUESTION = "What color is the man's umbrella?"


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "photo.jpg"
    Image.effect_noise((96, 64), 90).convert("RGB").save(path)
    return path


def push(*arguments):
    return CliRunner().invoke(app, ["push", *map(str, arguments)])


def test_the_answers_stay(account, imported, picture, monkeypatch, tmp_path):
    done = push(imported, "me/vqa", "--license", "mit", "--commit-message", "The first")
    assert done.exit_code == 0, done.output
    repo = account.repos["me/vqa"]
    assert f"{account.address}/me/vqa/commit/{repo.refs['main']}" in done.output
    assert repo.messages[1:] == ["The first"]  # one commit
    files = repo.commits[repo.refs["main"]]
    assert set(files) == {
        *(".gitattributes", "README.md", "config.yaml", "model.safetensors"),
        *("answers.json", "vocab.txt"),
    }
    card = yaml.safe_load(files["README.md"].decode().split("---")[1])
    assert card["pipeline_tag"] == "visual-question-answering"
    assert card["library_name"] == "clipvil-mmf" and card["license"] == "mit"
    assert TOKEN.encode() not in b"".join(files.values())

    expected = clipvil_mmf.from_pretrained(imported).answer(picture, QUESTION)
    model = clipvil_mmf.from_pretrained("me/vqa")
    assert model.answer(picture, QUESTION) == expected
    assert repr(model).startswith("Answerer('me/vqa'")
    # Once it is in the cache, it needs neither the network nor the server.

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert clipvil_mmf.from_pretrained("me/vqa").answer(picture, QUESTION) == expected
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert clipvil_mmf.from_pretrained("hf://me/vqa").answer(picture, QUESTION) == expected
    asked = CliRunner().invoke(app, ["answer", "me/vqa", str(picture), QUESTION])
    assert asked.exit_code == 0 and expected[0][0] in asked.output
    with pytest.raises(HubError, match=r"me/other is not .* in the cache .* HF_HUB_OFFLINE is set"):
        clipvil_mmf.from_pretrained("me/other")


def test_revisions(account, imported, picture):
    assert push(imported, "me/vqa").exit_code == 0
    assert push(imported, "me/vqa", "--revision", "v2").exit_code == 0
    repo = account.repos["me/vqa"]
    assert set(repo.refs) == {"main", "v2"}
    for reference, revision in (("me/vqa", "v2"), ("hf://me/vqa@v2", None), ("me/vqa@v2", None)):
        model = clipvil_mmf.from_pretrained(reference, revision=revision)
        assert model.answer(picture, QUESTION)
    with pytest.raises(HubError, match=r"^me/vqa is neither .* me/vqa has no revision v9$"):
        clipvil_mmf.from_pretrained("me/vqa", revision="v9")
    with pytest.raises(ValueError, match="names one already"):
        clipvil_mmf.from_pretrained("me/vqa@v2", revision="v2")
    with pytest.raises(ValueError, match="is not a hub repository"):
        clipvil_mmf.from_pretrained(imported, revision="v2")


def test_what_is_refused(hub, imported, monkeypatch, tmp_path):
    """In a line each; without the token."""

    def message(*arguments):
        done = push(*arguments)
        assert done.exit_code == 1 and "Traceback" not in done.output
        line = done.output.strip().splitlines()[-1]
        assert line.startswith("error: ")
        assert TOKEN not in line
        return line

    assert "not logged in to the hub: run `hf auth login`" in message(imported, "me/vqa")
    assert "expected org/name" in message(imported, "vqa")
    assert "is not a repository's name" in message(imported, "me/vqa qa")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "refuses this" in message(imported, "me/vqa")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert "don't have the rights" in message(imported, "others/vqa")
    hub.add("me/public", {"README.md": b""})
    assert "exists and is public" in message(imported, "me/public", "--private")
    assert push(imported, "me/hidden", "--private").exit_code == 0
    assert hub.repos["me/hidden"].private
    assert "no such file or folder" in message(tmp_path / "nowhere", "me/vqa")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "http://127.0.0.1:9 failed" in message(imported, "me/vqa")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("me/nothing", r"has no repository me/nothing, or it is private and you are not logged in"),
        ("me/hidden", r"has no repository me/hidden, or it is private and you are not logged in"),
        ("me/gated", r"me/gated is gated \(you are not logged in\)\. Ask for access at http"),
        ("me/bert", r"hf://me/bert is not a model of clipvil: it has no config\.yaml"),
        ("me/a b", r"me/a b: no such file or folder"),
        ("hf://me/a b", r"'me/a b' is not a repository's name"),
    ],
)
def test_what_is_not_there(hub, name, message):
    hub.add("me/hidden", {"config.yaml": b""}, private=True)
    hub.add("me/gated", {"config.yaml": b""}, gated=True)
    hub.add("me/bert", {"config.json": b"{}", "pytorch_model.bin": b"pickled"})
    with pytest.raises(ValueError, match=message) as raised:
        clipvil_mmf.from_pretrained(name)
    assert "\n" not in str(raised.value)
    assert not [request for request in hub.requests if request.endswith(".bin")]


def test_nothing_is_uploaded(hub, imported, tmp_path):
    """A look at what would be; the folder is a model."""
    shown = push(imported, "me/vqa", "--dry-run")
    assert "pipeline_tag: visual-question-answering" in shown.output, shown.output
    done = push(imported, "me/vqa", "--output", tmp_path / "out")
    assert done.exit_code == 0 and "nothing was uploaded" in done.output
    assert hub.requests == []
    assert clipvil_mmf.from_pretrained(tmp_path / "out").answers


def test_a_path_that_nobody_else_has(account, imported):
    config = OmegaConf.load(imported / "config.yaml")
    config.source = "/home/somebody/BEST.pth"
    OmegaConf.save(config, imported / "config.yaml")
    done = push(imported, "me/vqa")
    assert done.exit_code == 1 and "me/vqa" not in account.repos
    assert "source: /home/somebody/BEST.pth, a path of this machine" in done.output
