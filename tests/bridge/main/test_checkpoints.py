"""Checkpoints of MMF main: read without running their code, refused where they do not fit."""

import pickle
from types import SimpleNamespace

import pytest
import torch

from tests.bridge.runs import run_here

SHORT = ("training.max_updates=5", "run_type=train")


class Code:
    """A pickle that says when it is run."""

    def __reduce__(self):
        return (print, ("ran code",))


@pytest.fixture
def trained(tmp_path):
    return run_here(tmp_path / "trained", *SHORT)


def test_a_pickle_runs_only_if_it_is_named(trained, tmp_path, capfd):
    file = tmp_path / "foreign.ckpt"
    state = trained.checkpoint()["model"]
    torch.save({"model": state, "code": Code()}, file)
    opts = (*SHORT, f"checkpoint.resume_file={file}")
    with pytest.raises(ValueError, match=f"checkpoint.trust_pickle={file}"):
        run_here(tmp_path / "refused", *opts)
    assert "ran code" not in capfd.readouterr().out
    run_here(tmp_path / "trusted", *opts, f"checkpoint.trust_pickle={file}")
    assert "ran code" in capfd.readouterr().out


def test_a_damaged_file(tmp_path):
    file = tmp_path / "cut.ckpt"
    file.write_bytes(pickle.dumps({"model": 1})[:-3])
    with pytest.raises(ValueError, match=r"cut\.ckpt"):
        run_here(tmp_path, *SHORT, f"checkpoint.resume_file={file}")


def test_a_checkpoint_of_another_model(trained):
    with pytest.raises(ValueError, match=r"another model: it lacks 2 keys.*extra\.weight"):
        run_here(trained.folder, *SHORT, "model_config.tiny.extra=1", "checkpoint.resume=true")


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.ckpt does not exist"):
        run_here(tmp_path, *SHORT, "checkpoint.resume_file=nowhere.ckpt")


def test_predicting_with_nothing_trained(tmp_path):
    with pytest.raises(FileNotFoundError, match="train first"):
        run_here(tmp_path, "checkpoint.resume=true", predict=True)


def test_a_checkpoint_of_lightning_and_one_of_plain_weights(trained, tmp_path):
    state = trained.checkpoint()["model"]
    lightning, plain = tmp_path / "lightning.ckpt", tmp_path / "plain.pth"
    torch.save({"pytorch-lightning_version": "2", "state_dict": state}, lightning)
    torch.save(state, plain)
    for file in (lightning, plain):
        run = run_here(tmp_path / file.stem, *SHORT, f"checkpoint.resume_file={file}")
        assert run.checkpoint()["num_updates"] == 5


def test_part_of_a_checkpoint_by_name_map(trained, tmp_path):
    file = tmp_path / "pretrained.ckpt"
    torch.save({"model": trained.checkpoint()["model"]}, file)
    run = run_here(
        tmp_path / "new",
        "training.max_updates=0",
        "run_type=train",
        f"checkpoint.resume_file={file}",
        "checkpoint.resume_pretrained=true",
        changes={"checkpoint": {"pretrained_state_mapping": {"linear": "linear"}}},
    )
    weights = run.trainer.model.state_dict()
    assert torch.equal(weights["linear.weight"], trained.checkpoint()["model"]["linear.weight"])
    assert not torch.equal(weights["norm.weight"], trained.checkpoint()["model"]["norm.weight"])


def test_an_interrupted_write_leaves_the_old_file(trained, monkeypatch):
    from mmf_bridge.common import checkpoint_files

    before = (trained.folder / "current.ckpt").read_bytes()

    def full_disk(obj, file):
        file.write(b"half of a chec")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_files.torch, "save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        trained.trainer.checkpoint_callback.checkpoint.save(6)
    assert (trained.folder / "current.ckpt").read_bytes() == before
    assert not list(trained.folder.rglob("*partial*"))


def test_git_details_on_a_detached_head(trained):
    author = SimpleNamespace(name="somebody")
    commit = SimpleNamespace(name_rev="abc", author=author, message="change")
    checkpoint = trained.trainer.checkpoint_callback.checkpoint
    checkpoint.git_repo = SimpleNamespace(
        head=SimpleNamespace(is_detached=True, commit=commit),
        git=SimpleNamespace(diff=lambda _: ""),
    )
    checkpoint.save(6)
    assert trained.checkpoint()["git/branch"] == ""


def test_only_the_newest_numbered_checkpoints_stay(tmp_path):
    run = run_here(
        tmp_path, "training.max_updates=20", "run_type=train", "checkpoint.max_to_keep=2"
    )
    kept = sorted(file.name for file in (run.folder / "models").iterdir())
    assert kept == ["model_15.ckpt", "model_20.ckpt"]


def test_the_scaler_of_stock_main_is_taken(trained, tmp_path):
    file = tmp_path / "stock.ckpt"
    checkpoint = trained.checkpoint()
    checkpoint["fp16_scaler"] = {**torch.amp.GradScaler("cpu").state_dict(), "scale": 128.0}
    del checkpoint["scaler"]
    torch.save(checkpoint, file)
    run = run_here(
        tmp_path / "new",
        "training.max_updates=5",
        "run_type=train",
        "training.precision=fp16",
        f"checkpoint.resume_file={file}",
    )
    assert run.trainer.scaler.get_scale() == 128.0


def test_a_model_may_read_checkpoints_of_other_layouts(trained, tmp_path, monkeypatch):
    """By `adapt_state_dict`, also from safetensors files and folders."""
    from mmf.common.registry import registry
    from safetensors.torch import save_file

    state = trained.checkpoint()["model"]
    folder = tmp_path / "other"
    folder.mkdir()
    save_file({f"other.{name}": w for name, w in state.items()}, folder / "model.safetensors")
    seen = []

    def adapt_state_dict(self, state, file):
        seen.append(file)
        return {name.removeprefix("other."): weight for name, weight in state.items()}

    tiny = registry.get_model_class("tiny")
    monkeypatch.setattr(tiny, "adapt_state_dict", adapt_state_dict, raising=False)
    start = ("training.max_updates=0", "run_type=train", f"checkpoint.resume_file={folder}")
    run = run_here(tmp_path / "new", *start)
    loaded = run.trainer.model.state_dict()
    assert all(torch.equal(loaded[key], weight) for key, weight in state.items())
    assert seen == [str(folder)]
