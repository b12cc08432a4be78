"""The hidden states of a frozen backbone, one by one, and recomputed where they are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class HiddenStates(Iterator[Tensor]):
    """The hidden states of a frozen backbone, which can be recomputed.

    Args:
        start: begins a pass: the embeddings and then each layer's output, under `no_grad`.
        device: where it runs.

    Attributes:
        last: the state that was given last.
    """

    def __init__(self, start: Callable[[], Iterator[Tensor]], device: torch.device) -> None:
        self._start = start
        self._device = device
        self._pass: Iterator[Tensor] | None = None
        self.last: Tensor | None = None

    def __next__(self) -> Tensor:
        if self._pass is None:
            self._random = self._random_state()
            self._pass = self._start()
        self.last = None  # one is held, not two
        self.last = next(self._pass)
        return self.last

    @contextmanager
    def repeated(self) -> Iterator[Iterator[Tensor]]:
        """The same states from the first on, with the dropout that they had."""
        cuda = self._device.type == "cuda"
        with torch.random.fork_rng([self._device] if cuda else []):
            torch.set_rng_state(self._random[0])
            if cuda:
                torch.cuda.set_rng_state(self._random[1], self._device)
            yield self._start()

    def _random_state(self) -> list[Tensor]:
        states = [torch.get_rng_state()]
        if self._device.type == "cuda":
            states.append(torch.cuda.get_rng_state(self._device))
        return states
