"""Checkpoints: read without running their code, refused where they do not fit."""

import resource
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


def test_every_file_of_a_run_loads_by_torchs_safe_default(tmp_path):
    changes = {"scheduler": {"type": "pythia"}, "training.precision": "fp16"}
    run_here(tmp_path, *SHORT, "training.evaluation_interval=2", changes=changes)
    files = sorted(tmp_path.rglob("*.ckpt")) + sorted(tmp_path.rglob("*.pth"))
    assert {f.name for f in files} >= {"best.ckpt", "current.ckpt", "tiny_final.pth"}
    for file in files:
        torch.load(file, weights_only=True)
    state = torch.load(tmp_path / "current.ckpt", weights_only=True)
    assert isinstance(state["best_metric_value"], float)
    assert state["config"]["training"]["max_updates"] == 5
    assert (tmp_path / "config.yaml").exists()


def test_a_pickle_runs_only_if_it_is_named(trained, tmp_path, capfd):
    file = tmp_path / "foreign.ckpt"
    torch.save({"model": trained.checkpoint()["model"], "code": Code()}, file)
    opts = (*SHORT, f"checkpoint.resume_file={file}")
    with pytest.raises(ValueError, match=f"print.*checkpoint.trust_pickle={file}"):
        run_here(tmp_path / "refused", *opts)
    with pytest.raises(ValueError, match="trust_pickle"):
        run_here(tmp_path / "refused", *opts, "checkpoint.trust_pickle=another.ckpt")
    assert "ran code" not in capfd.readouterr().out
    run_here(tmp_path / "trusted", *opts, f"checkpoint.trust_pickle={file}")
    assert "ran code" in capfd.readouterr().out


def test_a_truncated_checkpoint(trained):
    file = trained.folder / "current.ckpt"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"current\.ckpt could not be read.*cut short"):
        run_here(trained.folder, *SHORT, "checkpoint.resume=true")


def test_a_checkpoint_of_another_model(trained):
    with pytest.raises(ValueError, match=r"another model: it lacks 2 keys.*extra\.weight"):
        run_here(trained.folder, *SHORT, "model_config.tiny.extra=1", "checkpoint.resume=true")


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.ckpt does not exist"):
        run_here(tmp_path, *SHORT, "checkpoint.resume_file=nowhere.ckpt")


def test_predicting_with_nothing_trained(tmp_path):
    with pytest.raises(FileNotFoundError, match="train first"):
        run_here(tmp_path, "checkpoint.resume=true", predict=True)


def test_plain_weights_and_weights_of_a_parallel_model(trained, tmp_path):
    state = trained.checkpoint()["model"]
    torch.save(state, tmp_path / "plain.pth")
    torch.save({f"module.{name}": w for name, w in state.items()}, tmp_path / "parallel.pth")
    for name in ("plain", "parallel"):
        run = run_here(
            tmp_path / name,
            "training.max_updates=0",
            "run_type=train",
            f"checkpoint.resume_file={tmp_path / name}.pth",
        )
        loaded = run.trainer.model.state_dict()
        assert all(torch.equal(loaded[key], weight) for key, weight in state.items())


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


def test_a_run_begun_from_the_zoo_goes_on_from_its_own_file(trained):
    begun = "checkpoint.resume_zoo=tiny.nowhere"
    run = run_here(trained.folder, "training.max_updates=5", begun, "checkpoint.resume=true")
    assert run.trainer.num_updates == 5
    assert "best_update" in run.checkpoint()


def test_a_full_disk_leaves_the_earlier_checkpoint(trained, monkeypatch):
    """A limit on the size of files stands for the full disk: the write itself fails."""
    before = {f.name: f.read_bytes() for f in trained.folder.rglob("*.ckpt")}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    monkeypatch.setattr(trained.trainer, "num_updates", 6)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        with pytest.raises(OSError, match=r"Could not write the checkpoint .*model_6\.ckpt"):
            trained.trainer.checkpoint.save(6, 6, update_best=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {f.name: f.read_bytes() for f in trained.folder.rglob("*.ckpt")} == before
    assert not list(trained.folder.rglob("*partial*"))


def test_git_details_on_a_detached_head(trained):
    author = SimpleNamespace(name="somebody")
    commit = SimpleNamespace(name_rev="abc", author=author, message="change")
    trained.trainer.checkpoint.git_repo = SimpleNamespace(
        head=SimpleNamespace(is_detached=True, commit=commit),
        git=SimpleNamespace(diff=lambda _: ""),
    )
    trained.trainer.checkpoint.save(6)
    assert trained.checkpoint()["git/branch"] == ""
    assert trained.checkpoint()["git/commit_hash"] == "abc"


def test_pretrained_models_are_read_from_a_folder(trained, tmp_path):
    from mmf.utils.checkpoint import load_pretrained_model

    folder = tmp_path / "tiny.published"
    folder.mkdir()
    state = trained.checkpoint()["model"]
    torch.save(
        {"model": state, "config": {"model_config": {"tiny": {"dropout": 0.5}}}}, folder / "m.pth"
    )
    loaded = load_pretrained_model(str(folder))
    assert loaded["config"] == {"dropout": 0.5}
    assert torch.equal(loaded["checkpoint"]["linear.bias"], state["linear.bias"])
    (folder / "second.pth").write_bytes(b"")
    with pytest.raises(ValueError, match=r"must hold one checkpoint.*second\.pth"):
        load_pretrained_model(str(folder))


def test_the_configuration_is_written_at_once_where_no_run_is(trained, tmp_path, monkeypatch):
    from mmf.utils.checkpoint import Checkpoint

    monkeypatch.setattr("mmf.utils.checkpoint.get_mmf_env", lambda key: str(tmp_path / "new"))
    Checkpoint(trained.trainer)
    assert (tmp_path / "new" / "config.yaml").is_file()
    (tmp_path / "new" / "config.yaml").unlink()
    (tmp_path / "new" / "current.ckpt").touch()
    Checkpoint(trained.trainer)
    assert not (tmp_path / "new" / "config.yaml").exists()
