"""A backbone trained on some question types of easy-VQA, tuned to the others."""

import re

import pytest
import torch
from omegaconf import OmegaConf

from clipvil_mmf.data import easy_vqa_files
from scripts.tune_easy_vqa import METHODS, options_of
from tests.bridge.runs import ROOT

CONFIGS = ROOT / "projects" / "clipvil" / "configs"
TRANSFER = f"config={CONFIGS / 'easy_vqa_transfer.yaml'}"
BACKBONE = f"config={CONFIGS / 'easy_vqa_backbone.yaml'}"


def test_the_tuned_question_types_are_those_that_the_backbone_lacks():
    known, new = (
        set(OmegaConf.load(CONFIGS / f"{name}.yaml").dataset_config.easy_vqa.question_types)
        for name in ("easy_vqa_backbone", "easy_vqa_transfer")
    )
    assert not known & new
    assert known | new == easy_vqa_files.QUESTION_TYPES.keys()


@pytest.fixture
def backbone(tmp_path, run):
    folder = tmp_path / "backbone"
    run(BACKBONE, "run_type=train", f"env.save_dir={folder}")
    return folder


@pytest.mark.parametrize("method", ["unipt", "lora"])
def test_a_method_tunes_the_backbone(tmp_path, run, backbone, method):
    trainer = run(TRANSFER, *options_of(method), f"model_config.clipvil.pretrained={backbone}")
    state = torch.load(backbone / "best.ckpt", weights_only=True)["model"]
    start = {key.removeprefix("module."): value for key, value in state.items()}
    now = dict(trainer.model.named_parameters())
    learning = {name for name, parameter in now.items() if parameter.requires_grad}
    for name, parameter in now.items():
        # peft keeps a matrix it works on inside its own layer.
        before = start.get(re.sub(r"\.base_layer\.", ".", name))
        if before is None or name.endswith("tuning.gate.bias"):
            assert name in learning
        else:
            assert torch.equal(parameter, before) == (name not in learning), name
    head = "network.classifier.output.weight"
    assert head in learning
    assert now[head].shape == start[head].shape
    log = "".join(file.read_text() for file in (tmp_path / "save" / "logs").iterdir())
    questions = easy_vqa_files.read_questions("test", types=["is_not_shape", "is_not_color"])
    assert f"easy_vqa test: {len(questions)} questions on" in log


def test_every_method_starts_from_the_backbone(run, backbone):
    for method in METHODS:
        trainer = run(
            TRANSFER,
            *options_of(method),
            f"model_config.clipvil.pretrained={backbone}",
            load_only=True,
        )
        tower = trainer.model.network.image_encoder
        learns = method == "full"
        assert all(p.requires_grad == learns for p in tower.parameters())
        trainer.model.train()
        assert tower.tower.bn1.training == learns


def test_a_missing_backbone_is_one_clear_error(tmp_path, run):
    with pytest.raises(ValueError, match=r"nowhere: no such file"):
        run(
            TRANSFER,
            f"model_config.clipvil.pretrained={tmp_path / 'nowhere'}",
        )
