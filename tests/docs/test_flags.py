"""The table of published flags: each of them is there, and each key of it exists."""

import re
from collections import Counter
from dataclasses import fields
from functools import cache
from pathlib import Path

import mmf
import pytest
from omegaconf import OmegaConf

from clipvil_mmf.fusion import FUSIONS
from clipvil_mmf.model import ClipVilConfig
from clipvil_mmf.optim.groups import TowerConfig
from clipvil_mmf.tuning import METHODS
from clipvil_mmf.vision import IMAGE_ENCODERS, VisualEmbeddingConfig
from tests.bridge.runs import ROOT
from tests.docs.checking import CONFIGS

PAGE = (ROOT / "docs" / "flags.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(--\w+)` \| (.*?) \|", PAGE, re.MULTILINE)
WITHOUT_KEY = ("always", "without effect", "left out")
KEYS = sorted(
    {
        key
        for row in re.findall(r"^\| `--\w+` (.*)$", PAGE, re.MULTILINE)
        for key in re.findall(r"`([a-z_]+\.[\w.<>]+(?:: \w+)?)`", row)
        if not key.endswith(".json")
    }
)
# In the order of clip-vil/CLIP-ViL's CLIP-ViL-Pretrain/src/param.py, and those that Paranioar/UniPT
# and ylsung/Ladder-Side-Tuning add in CLIP-ViL/src/param.py.
CLIP_VIL = (
    "train",
    "valid",
    "test",
    "batchSize",
    "optim",
    "lr",
    "epochs",
    "dropout",
    "seed",
    "output",
    "fast",
    "tiny",
    "tqdm",
    "load",
    "loadLXMERT",
    "loadLXMERTQA",
    "fromScratch",
    "mceLoss",
    "llayers",
    "xlayers",
    "rlayers",
    "taskMatched",
    "taskMaskLM",
    "taskObjPredict",
    "taskQA",
    "visualLosses",
    "qaSets",
    "wordMaskRate",
    "objMaskRate",
    "multiGPU",
    "numWorkers",
    "input_raw_images",
    "clip_model_name",
    "use_clip",
    "visualbert_style",
    "report_step",
    "local_rank",
    "fp16",
    "nodes",
    "distributed",
    "freeze_clip",
    "vqa_style_transform",
    "weight_decay",
    "adam_epsilon",
    "max_grad_norm",
    "use_adam_for_visual",
    "fp16_opt_level",
    "aspect_ratio_group_factor",
    "gradient_accumulation_steps",
    "use_h5_file",
    "drop_boxes",
    "skip_training",
    "image_size_min",
    "image_size_max",
    "loss_scale",
    "dynamic_padding",
    "vilt_style",
    "add_zero_padding",
    "warmup_ratio",
    "use_vit",
    "limit_source",
    "save_step",
    "reset_pos_embedding",
    "sub_sampling",
    "sub_feat_num",
    "use_separate_optimizer_for_visual",
    "sgd_lr",
    "sgd_momentum",
    "sgd_weight_decay",
    "schedule",
    "compress_data",
    "use_lmdb",
    "start_epoch",
    "use_positional_embedding",
    "use_max_pooling",
    "pos_num",
    "not_load_scheduler",
    "pad_square",
    "not_load_adam_optimizer",
    "separate_image",
)
TUNING = (
    "use_adapter",
    "reduction_factor",
    "use_vis_adapter",
    "use_bn",
    "use_gate",
    "use_side_transformers",
    "load_side_pretrained_weights",
    "samples_for_fisher",
    "freeze_visual_model",
    "freeze_visual_projection",
    "detach_visual_projection",
    "add_side_visual_projection",
    "encoder_side_layers",
    "use_lora",
    "lora_dim",
    "compute_time",
    "compute_memory",
)
# Where a key begins so, one of these dataclasses has it.
SECTIONS = {
    "image_encoder.params.": [config for config, _ in IMAGE_ENCODERS.values()],
    "visual_embedding.": [VisualEmbeddingConfig],
    "fusion.params.": [config for config, _ in FUSIONS.values()],
    "tuning.params.": [config for config, _ in METHODS.values()],
    "optimizer.groups.tower.": [TowerConfig],
}
DATASETS = ("datasets/vqa2.yaml", "datasets/pretraining.yaml")
# The bridge adds it to the defaults.
OF_THE_BRIDGE = ("training.fp16",)
TYPES = {"image_encoder.type": IMAGE_ENCODERS, "fusion.type": FUSIONS, "tuning.method": METHODS}


def test_every_flag_has_a_row():
    assert [flag for flag, _ in ROWS] == [f"--{name}" for name in (*CLIP_VIL, *TUNING)]
    assert (len(CLIP_VIL), len(TUNING)) == (80, 17)


def test_the_counts_are_those_of_the_table():
    found = Counter(here if here in WITHOUT_KEY else "key" for _, here in ROWS)
    said = [int(number) for number in re.findall(r"^- (\d+) ", PAGE, re.MULTILINE)]
    assert said == [found[name] for name in ("key", *WITHOUT_KEY)]
    assert all("`" in here for _, here in ROWS if here not in WITHOUT_KEY)


@pytest.mark.parametrize("here", sorted({here for _, here in ROWS} - {*WITHOUT_KEY}))
def test_a_network_or_a_run_has_the_key(here):
    for key in re.findall(r"`(.*?)`", here):
        check(key)


@pytest.mark.parametrize("key", KEYS)
def test_what_a_note_names(key):
    check(key)


def check(key):
    name, _, value = key.partition(": ")
    if name in TYPES:
        assert value in TYPES[name], key
        return
    for prefix, configs in SECTIONS.items():
        if name.startswith(prefix):
            known = {field.name for config in configs for field in fields(config)}
            assert name.removeprefix(prefix) in known, key
            return
    if name in {field.name for field in fields(ClipVilConfig)}:
        return
    places = [name.replace("<dataset>", dataset) for dataset in ("vqa2", "pretraining")]
    assert all(has(settings(), place) for place in places) or name in OF_THE_BRIDGE, key


@cache
def settings():
    """MMF's defaults, and what yaml files of this project add to them, as plain dictionaries."""
    from mmf.utils.configuration import load_yaml

    configs = [OmegaConf.load(Path(mmf.__file__).parent / "configs" / "defaults.yaml")]
    configs += [load_yaml(str(ROOT / CONFIGS / name)) for name in ("vqa2.yaml", *DATASETS)]
    return OmegaConf.to_container(OmegaConf.merge(*configs), resolve=False)


def has(section, place):
    """Whether a dotted key is in nested dictionaries."""
    for name in place.split("."):
        if not isinstance(section, dict) or name not in section:
            return False
        section = section[name]
    return True
