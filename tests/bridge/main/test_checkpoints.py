"""Checkpoints that MMF main alone has."""

from argparse import Namespace

import pytest
import torch
from omegaconf import open_dict

from tests.bridge.runs import run_here

SHORT = ("training.max_updates=5", "run_type=train")


@pytest.fixture
def trained(tmp_path):
    return run_here(tmp_path / "trained", *SHORT)


def test_a_checkpoint_of_lightning_and_one_of_plain_weights(trained, tmp_path):
    state = trained.checkpoint()["model"]
    lightning, plain = tmp_path / "lightning.ckpt", tmp_path / "plain.pth"
    torch.save({"pytorch-lightning_version": "2", "state_dict": state}, lightning)
    torch.save(state, plain)
    for file in (lightning, plain):
        run = run_here(tmp_path / file.stem, *SHORT, f"checkpoint.resume_file={file}")
        assert run.checkpoint()["num_updates"] == 5


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


def test_a_trainer_of_another_class_has_what_stock_main_asks_of_it(trained, tmp_path, monkeypatch):
    from mmf.utils.checkpoint import Checkpoint

    folder, original = tmp_path / "other", trained.trainer
    monkeypatch.setattr("mmf.utils.checkpoint.get_mmf_env", lambda key: str(folder))
    names = ("config", "model", "optimizer", "scaler", "num_updates", "current_iteration")
    callbacks = ("lr_scheduler_callback", "early_stop_callback", "current_epoch")
    trainer = Namespace(**{name: getattr(original, name) for name in names + callbacks})
    checkpoint = Checkpoint(trainer)
    checkpoint.save(7)
    saved = torch.load(folder / "current.ckpt", weights_only=True)
    assert (saved["num_updates"], saved["best_update"]) == (7, 5)
    assert saved["lr_scheduler"]["last_epoch"] == 5
    with open_dict(trainer.config):
        trainer.config.checkpoint.resume = True
    checkpoint.load_state_dict()
    assert trainer.num_updates == 7
