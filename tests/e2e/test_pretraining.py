"""The commands of docs/pretraining.md: two stages, the export, fine-tuning; resume; recipes."""

from __future__ import annotations

import re

import pytest
import torch
from omegaconf import OmegaConf
from typer.testing import CliRunner

import clipvil_mmf
from clipvil_mmf.checkpoints import CheckpointError
from clipvil_mmf.cli.main import app
from clipvil_mmf.config import ConfigError
from tests.bridge.main.conftest import mmf  # noqa: F401 (a fixture)
from tests.bridge.runs import ROOT
from tests.e2e.conftest import evaluation_of

CONFIGS = ROOT / "projects" / "clipvil" / "configs"
SMALL = (
    *("training.device=cpu", "training.tensorboard=false", "training.log_interval=1"),
    *("training.max_epochs=null", "training.max_updates=2", "training.evaluation_interval=2"),
    *("training.checkpoint_interval=2",),
)


@pytest.fixture
def pretrain(run_mmf, tmp_path, monkeypatch):
    """Run a stage of the tiny pre-training; stores are kept out of the repository."""
    monkeypatch.chdir(ROOT)

    def start(stage, *opts, **options):
        return run_mmf(
            f"config={CONFIGS}/pretrain_stage{stage}_tiny.yaml",
            *SMALL,
            f"dataset_config.pretraining.store_dir={tmp_path / 'stores'}",
            f"env.save_dir={tmp_path / f'stage{stage}'}",
            *opts,
            **options,
        )

    return start


def weights(trainer):
    return {name: value.clone() for name, value in trainer.model.network.state_dict().items()}


def log_of(folder):
    return "".join(file.read_text() for file in sorted((folder / "logs").iterdir()))


def test_two_stages_then_the_export_then_vqa(pretrain, run_mmf, tmp_path):
    first = pretrain(1)
    assert first.num_updates == 2
    assert not any(name.startswith("classifier.") for name in weights(first))
    figures = evaluation_of(first, "val")
    assert {f"val/pretraining/{name}_accuracy" for name in ("masked_word", "matching")} <= set(
        figures
    )
    assert not any("answer" in name for name in figures)

    second = pretrain(2, f"model_config.clipvil.pretrained={tmp_path / 'stage1'}", load_only=True)
    started = weights(second)
    shared = {name for name in started if not name.startswith("classifier.")}
    assert shared == set(weights(first))
    assert all(torch.equal(started[name], value) for name, value in weights(first).items())
    assert "pre-trained without answers" in log_of(tmp_path / "stage2")
    second = pretrain(2, f"model_config.clipvil.pretrained={tmp_path / 'stage1'}")
    assert second.num_updates == 2
    figures = evaluation_of(second, "val")
    assert "val/pretraining/answer_accuracy" in figures and "val/pretraining/answers" in figures

    exported = tmp_path / "Epoch11_LXRT.pth"
    done = CliRunner().invoke(app, ["export", str(tmp_path / "stage2"), "--output", str(exported)])
    assert done.exit_code == 0 and "pretrained layout" in done.output
    keys = torch.load(exported, weights_only=True)
    parts = (
        "cls.predictions.decoder.weight",
        "cls.seq_relationship.bias",
        "bert.pooler.dense.bias",
    )
    assert {f"module.{part}" for part in parts} <= set(keys)
    assert "module.answer_head.logit_fc.3.weight" in keys
    assert all(
        key.startswith(("module.bert.", "module.cls.", "module.answer_head.")) for key in keys
    )

    table = ROOT / "tests" / "fixtures" / "pretraining" / "all_ans.json"
    found = []
    for start, answers in ((tmp_path / "stage2", None), (exported, table)):
        trainer = run_mmf(
            f"config={CONFIGS}/vqa2_tiny.yaml",
            *SMALL,
            f"dataset_config.vqa2.store_dir={tmp_path / 'stores'}",
            f"env.save_dir={tmp_path / f'vqa{len(found)}'}",
            f"model_config.clipvil.pretrained={start}",
            *(() if answers is None else (f"model_config.clipvil.pretrained_answers={answers}",)),
            *(() if answers is None else ("training.max_updates=0",)),
            load_only=answers is not None,
        )
        if answers is None:
            assert trainer.num_updates == 2
            trainer = run_mmf(
                f"config={CONFIGS}/vqa2_tiny.yaml",
                *SMALL,
                f"dataset_config.vqa2.store_dir={tmp_path / 'stores'}",
                f"env.save_dir={tmp_path / 'own'}",
                f"model_config.clipvil.pretrained={start}",
                load_only=True,
            )
        found.append(weights(trainer))
    ours, theirs = found
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    log = log_of(tmp_path / "own")
    assert re.search(r"\d+ answers found in the pre-training table", log)
    assert "7: pre-training heads: masked words and image-text matching" in log


def test_a_resume_replays_the_draws(pretrain, tmp_path):
    """Words, pairs, answers and cells of the grid, and so every weight."""
    start = ("model_config.clipvil.pretrained=null", "scheduler.params.num_training_steps=9")
    states = []
    for name, steps in (("whole", [6]), ("parts", [3, 6])):
        for updates in steps:
            pretrain(
                2,
                *start,
                f"env.save_dir={tmp_path / name}",
                f"training.max_updates={updates}",
                *("training.evaluation_interval=3", "training.checkpoint_interval=3"),
                f"checkpoint.resume={str(updates != steps[0]).lower()}",
            )
        state = torch.load(tmp_path / name / "current.ckpt", weights_only=False)
        assert state["num_updates"] == 6 and state["current_epoch"] > 1
        states.append(state["model"])
    whole, parts = states
    assert all(torch.equal(whole[key], parts[key]) for key in whole if key != "_extra_state")


def test_losses_of_ones_own_are_refused(pretrain):
    with pytest.raises(ConfigError, match=r"losses: the task pretraining has its own"):
        pretrain(1, "model_config.clipvil.losses=['logit_bce']", load_only=True)


def test_a_run_without_answers_answers_nothing(pretrain, tmp_path):
    pretrain(1)
    with pytest.raises(CheckpointError, match="pretrained model alone, which answers nothing"):
        clipvil_mmf.from_pretrained(tmp_path / "stage1")
    pretrain(2, f"model_config.clipvil.pretrained={tmp_path / 'stage1'}")
    model = clipvil_mmf.from_pretrained(tmp_path / "stage2")
    image = ROOT / "tests" / "fixtures" / "own" / "images" / "first.jpg"
    answers = model.answer(image, "What color is the shape on the left?", top_k=13)
    assert sum(score for _, score in answers) == pytest.approx(1)


def test_captions_of_easy_vqa_then_a_few_questions(run, tmp_path):
    """easy_vqa_pretrain.yaml, then easy_vqa_few.yaml from it."""
    backbone = tmp_path / "backbone"
    first = run(f"config={CONFIGS}/easy_vqa_pretrain.yaml", f"env.save_dir={backbone}")
    assert {"val/easy_vqa/matching_accuracy"} <= set(evaluation_of(first, "val"))
    few = f"config={CONFIGS}/easy_vqa_few.yaml"
    second = run(few, f"model_config.clipvil.pretrained={backbone}", load_only=True)
    ours, theirs = weights(second), weights(first)
    trunk = {name for name in ours if not name.startswith("classifier.")}
    assert all(torch.equal(ours[name], theirs[name]) for name in trunk)
    run(few, "dataset_config.easy_vqa.subset=9", "training.max_updates=2")
    assert "easy_vqa train: subset: 9 of 27 images" in log_of(tmp_path / "save")


def test_the_published_recipes(monkeypatch):
    """Rates, batches and towers of both stages and both ResNets."""
    monkeypatch.chdir(ROOT)
    recipes = {
        "stage1": (240, 5e-5, 20, 9, [12, 17]),
        "stage2": (240, 2.75e-5, None, 11, [4, 9]),
        "stage1_rn50": (256, 1e-4, 20, 9, [12, 17]),
        "stage2_rn50": (256, 5e-5, None, 11, [4, 8]),
    }
    for name, (batch, lr, epochs, run, milestones) in recipes.items():
        parts = []
        file = f"{CONFIGS}/pretrain_{name}.yaml"
        while file:
            part = OmegaConf.load(file)
            parts.insert(0, part)
            (include,) = part.get("includes") or [None]
            file = include and f"{CONFIGS}/{include.removeprefix('../').removeprefix('./')}"
        config = OmegaConf.merge(*parts)
        assert (config.training.batch_size, config.optimizer.params.lr) == (batch, lr)
        assert config.training.max_epochs == run and config.training.update_frequency == 2
        assert config.scheduler.params.get("epochs") == epochs
        assert config.scheduler.params.milestones == milestones
        assert config.scheduler.params.warmup_ratio == 0.025
        tower = config.optimizer.groups.tower
        assert (tower.algorithm, tower.lr, tower.momentum, tower.weight_decay) == (
            *("sgd", 3e-3, 0.0, 4e-4),
        )
        answers = OmegaConf.select(config, "dataset_config.pretraining.task.params.answers")
        assert answers is (False if name.startswith("stage1") else None)
        assert config.model_config.clipvil.visual_embedding.sampled_tokens == 100
        encoder = OmegaConf.select(config, "model_config.clipvil.image_encoder.params.name")
        assert encoder == ("RN50" if name.endswith("rn50") else None)
