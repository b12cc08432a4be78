"""What the page asks: photos, questions, maps; what is a visitor's own is in what it gives."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from clipvil_mmf.explaining import Explanation, Seen
from clipvil_mmf.explaining.drawing import overlay
from clipvil_mmf.hub import Answerer

_SHOWN = (256, 640)  # pixels of the longer side of a photo on the page: at least, at most


class DeskError(ValueError):
    """Something that the visitor can put right; the message says how."""


@dataclass(frozen=True)
class Asked:
    """A question that was answered, with its maps."""

    question: str
    explanation: Explanation
    photo: Image.Image  # in the size of the page
    map: Image.Image  # of the answer, drawn over it
    word_maps: tuple[Image.Image, ...]  # of each word; empty where the method has none

    @property
    def answer(self) -> str:
        """The best one."""
        return self.explanation.answers[0][0]

    @property
    def confidence(self) -> float:
        """Its score in [0, 1]."""
        return self.explanation.answers[0][1]


class Desk:
    """Answers visitors, one question at a time.

    Args:
        answerer: a model of a task with one image per question, which a method of maps fits; a
            ``ValueError`` for others.
        top_k: answers to show.

    Attributes:
        methods: the names of those that fit.
    """

    def __init__(self, answerer: Answerer, top_k: int = 5) -> None:
        task = answerer.task
        if task.images_per_sample != 1:
            raise ValueError(
                f"{answerer.name} is of the task {task.name}, with {task.images_per_sample} images "
                "per question; the page takes models of one. Ask it with clipvil answer."
            )
        self.answerer, self._top_k = answerer, top_k
        self.methods = list(answerer.methods)
        if not self.methods:
            raise ValueError(f"{answerer.name}: no method of maps fits this model.")
        # A model notes what it computes in hooks, which are the same for all threads.
        self._lock = threading.Lock()

    def look(self, photo: Path | str | Image.Image) -> Seen:
        """Encode a photo: the tower runs here, once for all questions on it."""
        with self._lock:
            return self.answerer.look(photo)

    def ask(self, seen: Seen | None, question: str, method: str) -> Asked:
        """Answer a question on a photo, and draw where the model looked."""
        question = question.strip()
        if seen is None:
            raise DeskError("Choose a photo first.")
        if not question:
            raise DeskError("Type a question first.")
        with self._lock:
            found = self.answerer.explain(seen, question, method, top_k=self._top_k)
        photo = seen.photos[0].image
        words = () if found.word_maps is None else tuple(found.word_maps[0])
        drawn = tuple(shown(overlay(photo, values)) for values in (found.map, *words))
        return Asked(question, found, shown(photo), drawn[0], drawn[1:])


def shown(photo: Image.Image) -> Image.Image:
    """A photo in the size of the page."""
    longest = max(photo.size)
    wanted = int(np.clip(longest, *_SHOWN))
    if wanted == longest:
        return photo
    size = [max(1, round(side * wanted / longest)) for side in photo.size]
    is_small = wanted > longest
    kind = Image.Resampling.NEAREST if is_small else Image.Resampling.LANCZOS
    return photo.resize((size[0], size[1]), kind)


def verdict(asked: Asked, threshold: float) -> str:
    """The answer in words; or, below the threshold, that there is none."""
    share = f"{100 * asked.confidence:.0f}%"
    if asked.confidence < threshold:
        return (
            f"I would rather not answer: my best guess, “{asked.answer}”, has a confidence of "
            f"{share}, below {100 * threshold:.0f}%."
        )
    return f"{asked.answer} ({share})"
