"""easy-VQA as records, read from the files of the PyPI package ``easy-vqa`` (V. Zhou, MIT).

4,000 + 1,000 images of one shape (64x64 PNG), 38,575 + 9,673 questions, 13 answers. Imports the
standard library, and of the package nothing but its files.

Splits: the package's test split is ``test``. Of its training images every tenth, by image id
(``id % 10 == 0``), is ``val``; the others are ``train``. Ids of questions are their positions in
the package's file, so they are stable, and unique over ``train`` and ``val``.

Questions are of six types (``QUESTION_TYPES``): what the shape is, what color it is, and whether
it is (or is not) of a given shape or color. The answer to each takes one look at the image; the
negated ones turn it round.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from importlib.util import find_spec
from pathlib import Path

from clipvil_mmf.data.questions import AnnotationError, Question

SPLITS = ("train", "val", "test")
# Name -> an example.
QUESTION_TYPES = {
    "shape": "what shape is in the image? what is the red shape?",
    "color": "what color is the circle?",
    "is_shape": "is there a circle in the image?",
    "is_color": "does the image contain a red shape?",
    "is_not_shape": "is no circle present?",
    "is_not_color": "is there not a red shape?",
}
_VAL_EVERY = 10


def question_type(text: str) -> str:
    """The name in ``QUESTION_TYPES`` of a question of the package."""
    words = text.rstrip("?").split()
    if words[0] == "what":
        return "color" if "color" in words else "shape"
    # Only a question about a color says "shape": "a red shape", but "a circle".
    what = "color" if "shape" in words else "shape"
    return f"is_not_{what}" if {"not", "no"} & set(words) else f"is_{what}"


def package_data() -> Path:
    """The data folder of the installed package; ``ModuleNotFoundError``: it is not."""
    spec = find_spec("easy_vqa")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "The dataset easy_vqa is read from the package easy-vqa, which is not installed. "
            "Install it: pip install easy-vqa"
        )
    return Path(spec.origin).parent / "data"


def read_questions(
    split: str, data: Path | None = None, types: Collection[str] | None = None
) -> list[Question]:
    """The questions of a split, each with its one answer.

    Args:
        split: train, val or test.
        data: the data folder, by default the package's.
        types: names in ``QUESTION_TYPES``; others are left out. None for all.
    """
    if split not in SPLITS:
        raise ValueError(f"easy_vqa has no split {split!r}; expected one of {', '.join(SPLITS)}")
    folder = (data or package_data()) / ("test" if split == "test" else "train")
    file = folder / "questions.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"{file} is missing; expected easy-VQA's questions. Repair the package: "
            "pip install --force-reinstall easy-vqa"
        )
    images = folder / "images"
    questions = []
    for position, row in enumerate(json.loads(file.read_text(encoding="utf-8"))):
        if not (isinstance(row, list) and len(row) == 3 and isinstance(row[2], int)):
            raise AnnotationError(
                f"{file}: question {position} is {row!r}; expected [question, answer, image id]. "
                "Repair the package: pip install --force-reinstall easy-vqa"
            )
        text, answer, image_id = row
        in_split = split == "test" or (image_id % _VAL_EVERY == 0) == (split == "val")
        if in_split and (types is None or question_type(text) in types):
            question = Question(position, text, f"{images}/{image_id}.png", {answer: 1.0})
            questions.append(question)
    return questions


def read_captions(split: str, data: Path | None = None) -> list[Question]:
    """What the questions of a split and their answers tell of each image, as up to 7 sentences.

    An image whose questions tell neither shape nor color has none. The sentences, in words of the
    questions, have no answers; ids are positions in this list.
    """
    shapes, colors = _words(read_questions("train", data))
    known: dict[str, dict[str, str]] = {}
    for question in read_questions(split, data):
        (answer,) = question.answers or ("",)
        kind = question_type(question.text)
        told = {*question.text.rstrip("?").split(), answer}
        if kind.startswith("is_") and answer != ("no" if "not" in kind else "yes"):
            told = set()  # what is asked for is not there
        found = known.setdefault(question.image, {})
        for name, words in (("shape", shapes), ("color", colors)):
            for word in told & words:  # one at most: an image has one shape
                found[name] = word
    texts = []
    for image, found in known.items():
        shape, color = found.get("shape"), found.get("color")
        said = [
            shape and f"there is a {shape} in the image",
            shape and f"there is a {shape}",
            shape and f"a {shape} is present",
            color and f"there is a {color} shape in the image",
            color and f"a {color} shape is present",
            shape and color and f"the {shape} is {color}",
            shape and color and f"the color of the {shape} is {color}",
        ]
        texts += [(image, text) for text in said if text]
    return [Question(number, text, image, {}) for number, (image, text) in enumerate(texts)]


def _words(questions: list[Question]) -> tuple[set[str], set[str]]:
    """The names of shapes and of colors: what is answered to the questions for them."""
    named: dict[str, set[str]] = {"shape": set(), "color": set()}
    for question in questions:
        kind = question_type(question.text)
        if kind in named:
            named[kind].update(question.answers or ())
    return named["shape"], named["color"]


def read_answers(data: Path | None = None) -> list[str]:
    """The 13 answers, in the package's order."""
    text = ((data or package_data()) / "answers.txt").read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip()]
