"""Seeds: one for the run, one of its own for each process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmf_bridge.common.distributed import broadcast_object, get_rank


def seed_processes(training: Any, set_seed: Callable[[int], int]) -> bool:
    """Seed this process from ``training.seed``.

    -1 draws a seed, which all processes then share in ``training.seed`` (it names folders); each
    adds its rank for its own numbers, so that they draw different dropout masks. Null seeds
    nothing.

    Args:
        training: MMF's ``training`` section.
        set_seed: MMF's function; given -1 it draws a seed, and it returns the one it has set.

    Returns:
        whether the user gave the seed.
    """
    seed = training.seed
    if seed is None:
        return False
    if seed == -1:
        training.seed = broadcast_object(set_seed(-1))
    set_seed(training.seed + get_rank())
    return seed != -1
