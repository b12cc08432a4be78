"""Stands in for torchtext, which is no longer developed and does not load beside today's torch.

MMF imports it for pretrained word vectors only (`mmf.utils.vocab`), and every start of MMF imports
that module. Importing works, using raises.
"""

from __future__ import annotations

from typing import NoReturn


class _Missing:
    """A module whose every public name raises.

    Args:
        name: what it stands for, for the message.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # probes of Python itself (copy, pickle, inspect)
            raise AttributeError(name)
        raise ImportError(
            f"{self._name}.{name} is needed for pretrained word vectors (GloVe, fastText), and "
            "torchtext, which MMF takes them from, is not installed: its last release does not "
            "load beside torch 2.4 or newer. Give `vocab.type: random` in the configuration, or "
            "read the vectors with `vocab.type: intersected` from a file of your own."
        )


vocab = _Missing("torchtext.vocab")
