"""Small models of every kind that answers about images."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image

from clipvil_mmf.checkpoints.native import Description
from clipvil_mmf.hub import Answerer
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.tasks import build_task
from clipvil_mmf.tuning import METHODS
from tests.golden.compare import TINY, TINY_WIDTHS
from tests.test_hub import VOCABULARY, picture

VIT = {"layers": 2, "width": 64, "patch_size": 16, "head_width": 16, "image_size": 64}
VIT_GRID = {"type": "clip_grid", "params": {"tower": VIT}}
LXMERT = {"language_layers": 2, "cross_layers": 2, "visual_layers": 1}
SECTIONS: dict[str, dict[str, Any]] = {
    "resnet": {},
    "vit": {"image_encoder": VIT_GRID},
    "lxmert": {"fusion": {"type": "cross_modal", "params": {**TINY_WIDTHS, **LXMERT}}},
    "vilt": {
        "image_encoder": {"type": "clip_patches", "params": {"tower": VIT}},
        "fusion": {"type": "vilt", "params": TINY_WIDTHS},
    },
    "frugal": {
        "image_encoder": {
            "type": "clip_grid",
            "params": {**TINY["image_encoder"]["params"], "images_at_once": 1},
        },
        "tuning": {"method": "unipt", "params": {"backbone_precision": "bf16"}},
    },
    **{method: {"tuning": {"method": method}} for method in METHODS if method != "full"},
}
TASKS: dict[str, Any] = {
    "pair": {"type": "nlvr2", "params": {"pairing": "side_by_side"}},
    "two passes": {"type": "nlvr2", "params": {"pairing": "two_passes"}},
}
FIT_PAD = {"image_transform": "fit_pad", "image_size": [64, 96]}
STRETCH = {"image_transform": "stretch", "image_size": [64, 96]}
PHOTOS = [picture(64, 48), picture(48, 64), picture(50, 50), picture(300, 40)]
QUESTIONS = ["What color is the man's umbrella?", "Is it red?", "no [SEP] tokens? " * 30]


def small_model(kind: str = "resnet", images: dict[str, Any] = STRETCH) -> Answerer:
    """A model of ``SECTIONS`` or ``TASKS`` with random weights."""
    torch.manual_seed(0)
    task = build_task(TASKS.get(kind, "vqa"), "task")
    labels = task.labels or [f"answer {row}" for row in range(13)]
    sections = {**TINY, **SECTIONS.get(kind, {}), "num_labels": len(labels)}
    network = ClipVilNetwork.from_config(**sections, passes=task.passes).eval()
    described = Description(kind, {"kind": "finetuned"}, sections, images)
    described.task = TASKS.get(kind, "vqa")
    with torch.no_grad():  # scores that differ from question to question
        network.classifier.output.weight.mul_(20)
    return Answerer(network, described, labels, VOCABULARY, kind)


def shown(model: Answerer, photo: Image.Image) -> Image.Image | list[Image.Image]:
    """A photo, or as many as the model's task has."""
    count = model.task.images_per_sample
    return photo if count == 1 else [photo, photo.rotate(180)]
