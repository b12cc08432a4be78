"""Small models to explain, with random weights."""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image

from clipvil_mmf.checkpoints.native import Description
from clipvil_mmf.hub import Answerer
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.tasks import build_task
from tests.golden.compare import TINY
from tests.golden.lxmert import TINY_LXMERT
from tests.test_hub import ANSWERS, VOCABULARY, picture

QUESTION = "What color is the man's umbrella?"
PHOTO = picture(50, 40)
CROSS_MODAL = {"fusion": TINY_LXMERT["fusion"]}
# A grid of 2 x 3 cells, for landscape photos.
IMAGES = {"image_transform": "fit_pad", "image_size": [64, 96]}


def asked(task: Any = "vqa", images: dict[str, Any] | None = None, **sections: Any) -> Answerer:
    """A model whose sections are those of the golden files but for the given ones."""
    torch.manual_seed(0)
    kind = build_task(task, "task")
    labels = ANSWERS if kind.labels is None else list(kind.labels)
    described = {**TINY, **sections, "num_labels": len(labels)}
    network = ClipVilNetwork.from_config(**described, passes=kind.passes).eval()
    with torch.no_grad():  # so that attention is not uniform
        for name, parameter in network.named_parameters():
            if ".query." in name or ".key." in name:
                parameter.mul_(20)
    images = IMAGES if images is None else images
    description = Description("a test", {}, described, images=images, task=task)
    return Answerer(network, description, labels, VOCABULARY, "a test")


def solid(width: int, height: int) -> Image.Image:
    """A photo of one colour."""
    return Image.new("RGB", (width, height), "teal")
