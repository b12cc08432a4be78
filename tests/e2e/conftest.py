"""Runs of MMF in small: few images, a tower of a few channels."""

import json
import shutil

import pytest

import clipvil_mmf
from clipvil_mmf.data import easy_vqa_files
from mmf_bridge.common import launch
from tests.bridge.main.conftest import mmf  # noqa: F401 (a fixture)
from tests.bridge.runs import ROOT

CONFIG = ROOT / "projects" / "clipvil" / "configs" / "easy_vqa.yaml"
SMALL = (
    f"config={CONFIG}",
    *("training.device=cpu", "training.batch_size=32", "training.log_interval=2"),
    *("training.max_updates=4", "training.evaluation_interval=2", "scheduler.type=warmup_linear"),
    *("training.checkpoint_interval=2", "training.tensorboard=false"),
    *("model_config.clipvil.image_encoder.params.tower.width=8", "training.num_workers=0"),
)
IMAGES = {"train": 30, "test": 12}


@pytest.fixture(autouse=True)
def impatience(monkeypatch):
    """Files need not outlive a power cut here."""
    monkeypatch.setattr("os.fsync", lambda file: None)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """The package easy-vqa with its first images alone; a test may damage it."""
    whole, small = easy_vqa_files.package_data(), tmp_path / "package"
    small.mkdir()
    shutil.copy(whole / "answers.txt", small)
    for split, count in IMAGES.items():
        (small / split / "images").mkdir(parents=True)
        rows = json.loads((whole / split / "questions.json").read_text())
        kept = [row for row in rows if row[2] < count]
        (small / split / "questions.json").write_text(json.dumps(kept))
        for image in range(count):
            shutil.copy(whole / split / "images" / f"{image}.png", small / split / "images")
    monkeypatch.setattr(easy_vqa_files, "package_data", lambda: small)
    return small


@pytest.fixture
def run_mmf(tmp_path, monkeypatch):
    """A function that runs MMF with these options, and returns its trainer.

    With ``load_only`` the trainer is loaded, and does nothing.
    """
    import mmf_cli.run

    clipvil_mmf.register()  # it was imported before MMF

    made, stock = [], mmf_cli.run.build_trainer
    monkeypatch.setattr(
        mmf_cli.run, "build_trainer", lambda config: made.append(stock(config)) or made[-1]
    )

    def start(*opts, predict=False, load_only=False):
        save_dir = () if any(o.startswith("env.save_dir") for o in opts) else (save(tmp_path),)
        with monkeypatch.context() as patch:
            if load_only:
                patch.setattr(launch, "work", lambda trainer, predict: trainer.load())
            mmf_cli.run.run([*save_dir, *opts], predict=predict)
        return made[-1]

    return start


@pytest.fixture
def run(package, run_mmf):
    """The same for easy-VQA in small."""

    def start(*opts, predict=False, load_only=False, small_tower=True):
        small = [opt for opt in SMALL if small_tower or ".tower." not in opt]
        return run_mmf(*small, *opts, predict=predict, load_only=load_only)

    return start


def save(tmp_path):
    return f"env.save_dir={tmp_path / 'save'}"


def evaluation_of(trainer, split):
    """The loss and the metrics of a split."""
    _, meter = trainer.evaluation_loop(split)
    return {name: float(value.global_avg) for name, value in meter.meters.items()}
