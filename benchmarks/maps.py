"""What maps are worth: on the object? and does the answer depend on what they mark?

    python benchmarks/maps.py MODEL [--questions 500] [--right] [--device cpu]

MODEL was trained on easy-VQA (`make train`). Of as many of its test questions, with one object an
image, each method of `clipvil_mmf.explaining` that fits the model gives a line. `--right` takes
those that it answers right: for a model of `make tune`, which knows some types of questions alone.

- in box: the share of the map's mass inside the object's box; a map that says nothing has the
  box's share of the image, which is printed first;
- most first, least first: the perturbation test of arXiv 2103.15679. Of the image's tokens 0 to 90%
  are removed, the most or the least relevant ones first: the area under the accuracy, from 0 to 1.
  A good map is low in the former and high in the latter; `random` removes them in any order.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import clipvil_mmf
from clipvil_mmf.data import easy_vqa_files
from clipvil_mmf.data.questions import Question
from clipvil_mmf.explaining import METHODS, Seen, forward_pass
from clipvil_mmf.explaining.photo import on_photos
from clipvil_mmf.hub import Answerer
from clipvil_mmf.layers.tokens import Visual

SHARES = np.arange(10) / 10
OBJECT = 24  # levels of 255 by which a pixel of the object differs from the background at least


def object_box(path: str) -> tuple[slice, slice]:
    """Rows and columns of the object: where pixels differ from the most frequent colour."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    colours, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    differs = (abs(pixels - colours[counts.argmax()]) > OBJECT).any(-1)
    rows, columns = differs.any(1).nonzero()[0], differs.any(0).nonzero()[0]
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def kept_tokens(relevance: torch.Tensor) -> torch.Tensor:
    """(20, N) 1 for what is left of N tokens, for each of ``SHARES``: most first, then least."""
    count = len(relevance)
    rank = torch.empty(count, dtype=torch.long)
    rank[relevance.argsort(descending=True)] = torch.arange(count)
    removed = torch.from_numpy((SHARES * count).astype(int))[:, None]
    return torch.cat([rank >= removed, rank < count - removed]).long()


def area(accuracies: np.ndarray) -> float:
    """(10,) at each of ``SHARES`` -> the area under them, of 1."""
    return float(((accuracies[1:] + accuracies[:-1]) / 2).mean())


@torch.no_grad()
def answers_without(
    model: Answerer, seen: Seen, texts: tuple[torch.Tensor, ...], kept: torch.Tensor
) -> list[str]:
    """The best answer for each row of ``kept`` (rows, N)."""
    visual = model.network.visual_embedding(seen.grid)
    count = len(kept)
    rows = Visual(visual.tokens.expand(count, -1, -1), kept.to(seen.grid.device))
    texts = tuple(text.expand(count, -1) for text in texts)
    index = torch.arange(count, device=seen.grid.device)
    scores = model.network.forward(rows, index, *texts).scores
    return [model.answers[row] for row in scores.argmax(1).tolist()]


def answered_right(model: Answerer, questions: list[Question], count: int) -> list[Question]:
    """The first questions that the model answers right, `count` of them."""
    found: list[Question] = []
    answers = model.stream(((question.image, question.text) for question in questions), 1)
    for question, ((answer, _), *_) in zip(questions, answers, strict=False):
        if answer in question.answers:
            found.append(question)
        if len(found) == count:
            break
    return found


def measure(model: Answerer, questions: list[Question]) -> tuple[float, dict[str, list[float]]]:
    """The box's mean share of the image, and for each method: in box, most first, least first."""
    names = [*model.methods, "random"]
    inside = {name: [] for name in names}
    right = {name: np.zeros(2 * len(SHARES)) for name in names}
    areas, path, seen = [], None, None
    generator = torch.Generator().manual_seed(0)
    for question in questions:
        if question.image != path:
            path, seen = question.image, model.look(question.image)
            box = object_box(path)
        height, width = seen.photos[0].image.size[::-1]
        areas.append((box[0].stop - box[0].start) * (box[1].stop - box[1].start) / height / width)
        texts = model.texts(question.text)
        forward, _ = forward_pass(model.network, seen, texts, None)
        for name in names:
            if name == "random":
                cells = torch.rand(1, 1, forward.visual_length, generator=generator)
            else:
                cells = METHODS[name](forward)[:, :1]
            inside[name].append(on_photos(cells, seen)[0][0][box].sum())
            answers = answers_without(model, seen, texts, kept_tokens(cells[0, 0].cpu()))
            right[name] += [answer in question.answers for answer in answers]
    found = {}
    for name in names:
        most, least = np.split(right[name] / len(questions), 2)
        found[name] = [float(np.mean(inside[name])), area(most), area(least)]
    return float(np.mean(areas)), found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--questions", type=int, default=500)
    parser.add_argument("--right", action="store_true", help="of those that it answers right")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    model = clipvil_mmf.from_pretrained(given.model, given.device)
    questions = easy_vqa_files.read_questions("test")
    count = len(questions) if given.right else given.questions
    questions = random.Random(0).sample(questions, count)
    if given.right:
        questions = answered_right(model, questions, given.questions)
    share, found = measure(model, sorted(questions, key=lambda question: question.image))
    print(f"{len(questions)} questions; the object's box is {share:.3f} of the image")
    print(f"{'method':<12}{'in box':>9}{'most first':>12}{'least first':>13}")
    for name, (mass, most, least) in found.items():
        print(f"{name:<12}{mass:>9.3f}{most:>12.3f}{least:>13.3f}")


if __name__ == "__main__":
    main()
