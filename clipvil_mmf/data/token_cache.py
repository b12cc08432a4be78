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
        self._kept: dict[str, tuple[np.ndarray, np.int32]] = {}

    def __call__(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return ids (B, T) int32 and lengths (B,) int32 of B questions."""
        asked = dict.fromkeys(texts)
        new = [text for text in asked if text not in self._kept]
        if len(self._kept) + len(new) > self._capacity:
            self._kept, new = {}, list(asked)
        if new:
            self._kept.update(zip(new, zip(*self._tokenizer(new), strict=True), strict=True))
        ids, lengths = zip(*(self._kept[text] for text in texts), strict=True)
        return np.stack(ids), np.stack(lengths)
