"""Token ids of questions, kept for those that were asked lately."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Tokenizer = Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]]


class TokenCache:
    """Tokenises each distinct question once while it is kept.

    easy-VQA has few dozens of questions, which then are never tokenised twice; VQA v2 has more than
    are worth keeping. When the cache is full it starts afresh.

    Args:
        tokenizer: N questions -> ids (N, T) int32 and lengths (N,) int32.
        capacity: how many questions are kept.
    """

    def __init__(self, tokenizer: Tokenizer, capacity: int = 4096) -> None:
        self._tokenizer = tokenizer
        self._capacity = capacity
        self._places: dict[str, int] = {}
        self._ids, self._lengths = tokenizer([])

    def __call__(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return ids (B, T) int32 and lengths (B,) int32 of B questions."""
        new = [text for text in dict.fromkeys(texts) if text not in self._places]
        if new:
            self._add(new, texts)
        places = [self._places[text] for text in texts]
        return self._ids[places], self._lengths[places]

    def _add(self, new: list[str], texts: Sequence[str]) -> None:
        if len(self._places) + len(new) > self._capacity:
            self._places = {}
            new = list(dict.fromkeys(texts))
        start = len(self._places)
        ids, lengths = self._tokenizer(new)
        self._ids = np.concatenate([self._ids[:start], ids])
        self._lengths = np.concatenate([self._lengths[:start], lengths])
        self._places.update((text, start + i) for i, text in enumerate(new))
