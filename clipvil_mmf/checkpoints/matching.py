"""Tensors into a network by its own names: each one is taken, or listed with the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from clipvil_mmf.checkpoints import CheckpointError

PARTS = ("image_encoder", "fusion")
_EXTRA_LAYER = "layers that the network does not have"
PRETRAINING = "pretraining."  # how the names of the pre-training heads begin
_OF_PRETRAINING = "pre-training heads: masked words and image-text matching"


@dataclass
class Source:
    """The tensors of a file under our names, and what is known of them; None where it is not."""

    kind: str  # in a word, for messages: run, finetuned, pretrained, clip, bert
    tensors: dict[str, Tensor]  # by our names; by the file's own where there is none of ours
    labels: list[str] | None = None  # the rows of its head
    tokens: list[str] | None = None  # its text vocabulary
    tuning: Mapping[str, Any] | None = None  # its section `tuning`
    # Of a tuned run, whose file holds trainable tensors alone: ``name`` and ``sha256`` of the rest.
    backbone: Mapping[str, str] | None = None
    key_of: Callable[[str], str] = str  # one of our names -> the key in the file
    spare: Mapping[str, str] = field(default_factory=dict)  # name -> why it may be left over

    @property
    def part(self) -> str | None:
        """The one part of a network that it holds (a CLIP model, a BERT), or None."""
        parts = {name.split(".", 1)[0] for name in self.tensors if name not in self.spare}
        found = [part for part in PARTS if part in parts]
        is_whole = bool(parts & {"classifier", "visual_embedding"})
        return found[0] if len(found) == 1 and not is_whole else None


@dataclass
class LoadReport:
    """What became of a file's tensors and of the network's; as text, for people."""

    loaded: list[str] = field(default_factory=list)  # keys of the file that the network takes
    unused: dict[str, str] = field(default_factory=dict)  # its other keys -> the reason
    # Names of the network that keep their initialisation -> the reason.
    fresh: dict[str, str] = field(default_factory=dict)

    def reasons(self) -> dict[str, int]:
        """Reason -> how many tensors were left for it."""
        return dict(Counter(self.unused.values()))

    def __str__(self) -> str:
        lines = [f"{len(self.loaded)} tensors loaded, {len(self.unused)} not used"]
        lines += [f"  {n}: {why}" for why, n in self.reasons().items()]
        for why, n in Counter(self.fresh.values()).items():
            first = next(name for name, reason in self.fresh.items() if reason == why)
            lines.append(f"  {n} of the network keep their initialisation ({first} ...): {why}")
        return "\n".join(lines)


def match(
    expected: Mapping[str, Tensor],
    source: Source,
    untuned: Callable[[str], str | None] = str,
    fresh: Mapping[str, str] | None = None,
    file: str | Path = "the checkpoint",
) -> tuple[dict[str, Tensor], LoadReport]:
    """Find the tensor for each name of a network, and say what became of every tensor.

    Args:
        expected: the network's state dict; only names and shapes are read.
        source: the file's tensors.
        untuned: gives the name that a tensor has without the network's tuning method.
        fresh: names that the file need not have -> why they keep their initialisation.
        file: where the tensors come from, for the error.

    Raises:
        CheckpointError: a tensor is missing, unknown or of another shape, or none fits. The
            message lists all of them, by the keys of the file.
    """
    tensors, key_of, part = source.tensors, source.key_of, source.part
    report, fresh = LoadReport(), fresh or {}
    found: dict[str, Tensor] = {}
    missing, unknown, misshapen = [], [], []
    taken = set()
    for name, value in expected.items():
        theirs = name if name in tensors else untuned(name)
        if theirs in tensors:
            taken.add(theirs)
            found[name], key = tensors[theirs], key_of(theirs)
            report.loaded.append(key)
            if found[name].shape != value.shape:
                shapes = tuple(found[name].shape), tuple(value.shape)
                misshapen.append(f"{key} is {shapes[0]}, the network's {name} is {shapes[1]}")
        elif name in fresh:
            report.fresh[name] = fresh[name]
        elif part is None:
            missing.append(key_of(name))
        elif name.startswith(f"{part}."):
            report.fresh[name] = "not in the file"
    for name in (name for name in tensors if name not in taken):
        in_part = part is not None and name.startswith(f"{part}.")
        reason = source.spare.get(name) or (_EXTRA_LAYER if in_part else None)
        if name.startswith(PRETRAINING):
            reason = _OF_PRETRAINING
        if reason is None:
            unknown.append(key_of(name))
        else:
            report.unused[key_of(name)] = reason
    problems = {
        "missing from the checkpoint": missing,
        "unknown to the network": unknown,
        "of another shape": misshapen,
    }
    listed = [
        "\n    ".join([f"{len(keys)} {what}:", *keys]) for what, keys in problems.items() if keys
    ]
    if listed or not found:
        raise CheckpointError(
            f"{file} does not fit the network (same tower, widths, layers and labels are needed); "
            "nothing was loaded.\n  "
            + "\n  ".join(listed or ["none of its tensors is one of the network's"])
        )
    return found, report
