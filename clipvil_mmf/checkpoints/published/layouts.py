"""The layouts of published files: what a file holds, and how its keys differ from `BEST.pth`'s.

Every other layout is `BEST.pth`'s with other prefixes, so that one table of names does for all.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from clipvil_mmf.checkpoints import CheckpointError
from clipvil_mmf.layers.published import BERT, CLIP

_DDP = "module."
# LayerNorm's parameters in BERT files of 2018.
_OLD_NORMS = {".gamma": ".weight", ".beta": ".bias"}
# LoRA's and adapters' keys have the task in them; the tables of names have it as vqa.
_OF_A_TASK = re.compile(r"(\.(?:lora_[AB]s|adapter\.adapters)\.)([^.]+)")
_TASK = "vqa"
_TOWER_ALONE = re.compile(r"(conv1\.weight|trunk\.)")


class Kind(str, Enum):
    """What a published file holds."""

    finetuned = "finetuned"  # BEST.pth: the network for one task
    pretrained = "pretrained"  # Epoch11_LXRT.pth: with the 9500-answer head and other heads
    clip = "clip"  # a CLIP model, or its vision tower alone
    bert = "bert"  # BERT, with or without its heads


# Kind, and whether the file is bare -> (prefix in BEST.pth, prefix in the file); the first that
# fits counts.
_PREFIXES: dict[tuple[Kind, bool], list[tuple[str, str]]] = {
    (Kind.finetuned, False): [],
    (Kind.pretrained, False): [(BERT, "bert."), ("logit_fc.", "answer_head.logit_fc.")],
    (Kind.clip, False): [(CLIP, "")],
    (Kind.clip, True): [(f"{CLIP}visual.", "")],
    (Kind.bert, False): [(BERT, "bert.")],
    (Kind.bert, True): [(BERT, "")],
}


@dataclass(frozen=True)
class Layout:
    """How the keys of one file are written."""

    kind: Kind
    ddp: bool = False  # every key has DDP's ``module.`` in front
    bare: bool = False  # a tower alone (no ``visual.``) or a BertModel alone (no ``bert.``)
    old_norms: bool = False  # LayerNorms have ``gamma`` and ``beta``
    task: str = _TASK  # the part of the keys of LoRA and adapters that names the task

    def canonical(self, key: str) -> str:
        """The name that `BEST.pth` would give this key of the file."""
        key = key.removeprefix(_DDP)
        for old, new in _OLD_NORMS.items() if self.old_norms else ():
            key = key.replace(f".LayerNorm{old}", f".LayerNorm{new}")
        key = _with_task(key, self.task, _TASK)
        for ours, theirs in _PREFIXES[self.kind, self.bare]:
            if key.startswith(theirs):
                return ours + key[len(theirs) :]
        return key

    def in_file(self, canonical: str) -> str:
        """The key in the file of a name of `BEST.pth`; the inverse of :meth:`canonical`."""
        key = _with_task(canonical, _TASK, self.task)
        for ours, theirs in _PREFIXES[self.kind, self.bare]:
            if key.startswith(ours):
                key = theirs + key[len(ours) :]
                break
        for old, new in _OLD_NORMS.items() if self.old_norms else ():
            key = key.replace(f".LayerNorm{new}", f".LayerNorm{old}")
        return _DDP + key if self.ddp else key


def detect_layout(keys: Collection[str], source: str, kind: Kind | None = None) -> Layout:
    """Recognise a published file, named `source`, by its keys.

    Raises:
        CheckpointError: the keys are not those of a known file, or not of one of this kind.
    """
    ddp = all(key.startswith(_DDP) for key in keys)
    tasks = list(_tasks(keys).values())
    task = _TASK if _TASK in tasks or not tasks else tasks[0]
    plain = [key.removeprefix(_DDP) for key in keys]

    def some(*prefixes: str) -> bool:
        return any(key.startswith(prefixes) for key in plain)

    found = None
    if some(BERT):
        found = Layout(Kind.finetuned, ddp, task=task)
    elif some("bert.encoder.visn_fc.", "answer_head."):
        found = Layout(Kind.pretrained, ddp)
    elif some("visual."):
        found = Layout(Kind.clip, ddp)
    elif some("bert.embeddings.", "embeddings.word_embeddings."):
        old = any(key.endswith(".LayerNorm.gamma") for key in plain)
        found = Layout(Kind.bert, ddp, bare=not some("bert."), old_norms=old)
    elif any(_TOWER_ALONE.match(key) for key in plain):
        found = Layout(Kind.clip, ddp, bare=True)
    if found is not None and kind in (None, found.kind):
        return found
    what = f"is not a {kind.value} checkpoint" if kind else "is not a checkpoint of a known layout"
    instead = f", but a {found.kind.value} one" if found else ""
    raise CheckpointError(
        f"{source} {what}{instead}: it has {len(plain)} keys, such as {', '.join(plain[:3])}. "
        "Expected: finetuned (lxrt_encoder.model.bert.*, logit_fc.*), pretrained (bert.*, "
        "answer_head.*), clip (visual.*, or a tower alone) or bert (bert.embeddings.*)."
    )


def take_shared_tasks(tensors: dict[str, Tensor], source: str) -> dict[str, str]:
    """Take out what a file has for tasks other than its layout's; it has to be the same.

    The published code can share LoRA's factors and adapters among tasks, and then saves them under
    the key of each.

    Args:
        tensors: under the names of `BEST.pth`; those of the other tasks are taken out.
        source: the file, for the error.

    Returns:
        Key of another task -> the key that has the same tensor.

    Raises:
        CheckpointError: the tensors of two tasks differ.
    """
    shared = {key: _with_task(key, task) for key, task in _tasks(tensors).items() if task != _TASK}
    for key, first in shared.items():
        if first not in tensors or not torch.equal(tensors[key], tensors[first]):
            raise CheckpointError(
                f"{source} was tuned for several tasks, each with tensors of its own: {key} is not "
                f"{first}. A network has one task: keep the keys of one task in the file."
            )
    for key in shared:
        del tensors[key]
    return shared


def _tasks(keys: Iterable[str]) -> dict[str, str]:
    """Key -> its task, for those that have one."""
    found = {key: _OF_A_TASK.search(key) for key in keys}
    return {key: match.group(2) for key, match in found.items() if match}


def _with_task(key: str, task: str, new: str = _TASK) -> str:
    """A key of one task as another one's; other keys as they are."""
    return _OF_A_TASK.sub(lambda m: m[1] + (new if m[2] == task else m[2]), key, count=1)
