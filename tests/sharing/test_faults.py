"""What a hub, the way there, a disk or an account does wrong: a line each, nothing is left."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import constants
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

import clipvil_mmf
from clipvil_mmf.config import ConfigError
from clipvil_mmf.sharing.card import run_facts
from clipvil_mmf.sharing.repositories import HubError
from clipvil_mmf.text.vocabulary import find_vocabulary
from clipvil_mmf.weight_files import WeightFileError
from tests.sharing.test_round_trip import push

NAME, WEIGHTS = "me/vqa", "model.safetensors"


@pytest.fixture(autouse=True)
def impatience(monkeypatch):
    """huggingface_hub waits between its attempts."""
    for module in ("utils._http", "file_download"):
        still = SimpleNamespace(sleep=lambda seconds: None)
        monkeypatch.setattr(f"huggingface_hub.{module}.time", still, raising=False)


@pytest.fixture
def shared(account, imported):
    """A hub that has the model."""
    assert push(imported, NAME).exit_code == 0
    return account


def refuses(status):
    return lambda server: server._fail(status, "", "the server says no")


def is_a_page(server):
    server._send(200, b"<html>Log in to this network</html>")


def said(done):
    """The last line of a command that has failed in one line."""
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit), done.exception
    line = done.output.strip().splitlines()[-1]
    assert line.startswith("error: ")
    return line


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (refuses(403), r"refuses this \(your token does not open it\): the server .*HF_TOKEN$"),
        (refuses(404), r"127\.0\.0\.1:\d+ failed with 404: the server says no$"),
        (refuses(503), r"127\.0\.0\.1:\d+ failed with 503: the server says no\. Try again later$"),
        (is_a_page, r"failed: what it sends is not a hub's \(JSONDecodeError: .*Try again later$"),
    ],
)
def test_what_is_answered_in_the_place_of_a_model(shared, fault, message):
    """Where there is an answer, nobody says that the hub cannot be reached."""
    shared.faults = {"GET /api/models": fault}
    with pytest.raises(HubError, match=message) as raised:
        clipvil_mmf.from_pretrained(f"hf://{NAME}")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "request_", ["PUT /lfs", f"POST /{NAME}.git", f"POST /api/models/{NAME}/commit"]
)
def test_a_push_that_is_refused_halfway(shared, imported, request_):
    weights = load_file(imported / WEIGHTS)
    weights = {name: tensor + 1 for name, tensor in weights.items()}
    save_file(weights, imported / WEIGHTS)
    before = dict(shared.repos[NAME].refs)
    for fault, message in (
        (
            refuses(403),
            r"refuses this \(your token does not open it\): .* or set HF_TOKEN",
        ),
        (refuses(500), r"failed with 500: .*\. Try again later"),
        (is_a_page, r"failed: what it sends is not a hub's "),
    ):
        shared.faults = {request_: fault}
        if request_ == "PUT /lfs" and fault is is_a_page:
            continue  # nobody reads that answer
        assert re.search(message, said(push(imported, NAME)))
        assert shared.repos[NAME].refs == before


def test_weights_that_arrive_damaged(shared):
    whole = shared.repos[NAME].commits[shared.repos[NAME].refs["main"]][WEIGHTS]
    shared.bodies[WEIGHTS] = whole[:-1] + bytes([whole[-1] ^ 1])
    with pytest.raises(HubError, match=r"arrived damaged, and was removed\. Fetch it once more$"):
        clipvil_mmf.from_pretrained(NAME)
    shared.bodies.clear()
    assert clipvil_mmf.from_pretrained(NAME).answers


def test_weights_that_are_damaged_in_the_cache(shared):
    clipvil_mmf.from_pretrained(NAME)
    (file,) = Path(constants.HF_HUB_CACHE).glob(f"*/snapshots/*/{WEIGHTS}")
    kept = file.resolve()
    kept.write_bytes(kept.read_bytes()[:1000])
    message = f"in the hub's cache: remove {re.escape(str(kept))}, and it is fetched once more"
    with pytest.raises(WeightFileError, match=message):
        clipvil_mmf.from_pretrained(NAME)
    kept.unlink()
    assert clipvil_mmf.from_pretrained(NAME).answers


def test_a_cache_that_cannot_be_written(shared, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file"))
    with pytest.raises(HubError, match=r"its cache .*/file cannot be .* set HF_HOME to another"):
        clipvil_mmf.from_pretrained(NAME)


def test_a_push_without_a_network(account, imported, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert said(push(imported, NAME)).startswith("error: HF_HUB_OFFLINE is set: unset it to push")


def test_the_address_of_a_page(hub):
    with pytest.raises(HubError, match=r"of a page; expected .*, such as hf://me/vqa, or a file"):
        clipvil_mmf.from_pretrained(f"https://huggingface.co/{NAME}/tree/main")


def test_a_vocabulary_that_is_refused(hub):
    hub.faults = {f"HEAD /{NAME}": refuses(503)}
    with pytest.raises(ConfigError, match=r"vocab: 'me/vqa' is not a file here, .*failed with 503"):
        find_vocabulary(NAME)
    hub.faults = {f"HEAD /{NAME}": is_a_page}
    with pytest.raises(ConfigError, match="vocab: 'me/vqa' is not a file here"):
        find_vocabulary(NAME)


def test_weights_that_are_not_finite_are_not_pushed(account, imported):
    weights = load_file(imported / WEIGHTS)
    name = next(name for name, tensor in weights.items() if tensor.is_floating_point())
    save_file({**weights, name: torch.full_like(weights[name], float("nan"))}, imported / WEIGHTS)
    assert f"{name} of the weights hold NaN or infinity" in said(push(imported, NAME))
    assert NAME not in account.repos


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("D:/models/x.pt", "source: D:/models/x.pt, a path of this machine"),
        (r"\\server\models\x.pt", r"source: \\server\models\x.pt, a path of this machine"),
        ("file:///mnt/x.pt", "source: file:///mnt/x.pt, a path of this machine"),
        ("s3://me:mysecret@models/x.pt", "would have a password, a token or a signed address"),
        ("https://models/x.pt?token=abc", "would have a password, a token or a signed address"),
        ("${oc.env:MY_TOKEN}.pth", None),  # which stays as it is written
        ("hidden-words.pth", "the value of the variable MY_TOKEN would be pushed"),
    ],
)
def test_secrets_and_paths_are_not_pushed(account, imported, monkeypatch, value, message):
    monkeypatch.setenv("MY_TOKEN", "hidden-words")
    config = OmegaConf.load(imported / "config.yaml")
    config.source = value
    OmegaConf.save(config, imported / "config.yaml")
    done = push(imported, NAME)
    if message is not None:
        assert message in said(done)
        assert "hidden-words" not in done.output and "mysecret" not in done.output
        assert NAME not in account.repos
        return
    assert done.exit_code == 1 or b"hidden-words" not in b"".join(
        account.repos[NAME].commits[account.repos[NAME].refs["main"]].values()
    )


def test_a_card_of_odd_figures(tmp_path):
    run = {"training": {}, "datasets": "vqa2", "evaluation": {"metrics": ["vqa_score"]}}
    OmegaConf.save(OmegaConf.create(run), tmp_path / "config.yaml")
    for report in (
        '{"trainable": 0, "total": 0, "seconds": NaN}',
        '{"scores": {"criterion": "val/vqa2/vqa_score", "best": NaN, "best_update": 1}}',
    ):
        (tmp_path / "run_report.json").write_text(report)
        facts = run_facts(tmp_path)
        assert facts.scores == [] and facts.costs == {}
