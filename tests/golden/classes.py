"""SNLI-VE and NLVR2 on CLIP-ViL: the network of `clipvil_full` with a head of classes.

`nlvr2` is the part `pair/` of what was recorded: both images in one picture. The other part, the
published default that loses the right image, is not to be repeated.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor

from clipvil_mmf.loss_functions import class_cross_entropy
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.tasks import build_task
from tests.golden.clipvil_full import measure_mode
from tests.golden.compare import TINY, Golden, load_golden, published_weights
from tests.golden.published import load_published

# Task and golden file -> the published factor of its loss.
SCALES = {"snli_ve": 1, "nlvr2": 2}


def load(name: str) -> tuple[ClipVilNetwork, Golden]:
    """The tiny network with the golden weights of a task, and the golden file."""
    golden, task = load_golden(name), build_task(name)
    sections = {**TINY, "num_labels": len(task.labels)}
    network = ClipVilNetwork.from_config(**sections, passes=task.passes)
    load_published(network, published_weights(golden))
    return network, golden


def score(scale: int, scores: Tensor, target: Tensor) -> dict[str, Tensor]:
    """The loss, and what is recorded beside it."""
    classes = target.flatten().long()
    loss = class_cross_entropy(scores, classes)
    return {"loss": loss * scale, "ce": loss, "correct": (scores.argmax(dim=1) == classes).double()}


def measure(name: str, **where: Any) -> dict[str, Tensor]:
    """Everything that is recorded of a task; see :func:`measure_mode`."""
    ours: dict[str, Tensor] = {}
    for mode in ("eval", "train"):
        ours |= measure_mode(mode, *load(name), score=partial(score, SCALES[name]), **where)
    if "eval/joint" in ours:  # stored thinned out
        ours["eval/joint"] = ours["eval/joint"][:, ::5]
    return ours


MEASUREMENTS = {name: partial(measure, name) for name in SCALES}
