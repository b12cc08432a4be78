"""A few questions on three images, and what two runs answer to them."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from clipvil_mmf.browsing.view import Browser
from clipvil_mmf.data.questions import Question
from clipvil_mmf.data.table import QuestionTable

EVIL = "<script>alert(\"x\")</script> & 'quoted'?"
QUESTIONS = [
    Question(10, "What shape is it?", "a.png", {"circle": 1.0, "ring": 0.6}),
    Question(3, "What color is it?", "a.png", {"red": 1.0}),
    Question(7, EVIL, "b.png", {"yes": 1.0}),
    Question(8, "Is there a <b>box</b>?", "b.png", {"no": 1.0}),
    Question(20, "What Shape is behind it?", "sub/c.png", {"box": 1.0}),
]
FIRST = [
    {
        "question_id": 10,
        "answer": "ring",
        "confidence": 0.5,
        "top_answers": [["ring", 0.5], ["circle", 0.25], ["box", 0.125]],
    },
    {
        "question_id": 3,
        "answer": "red",
        "confidence": 0.9,
        "top_answers": [["red", 0.9], ["blue", 0.05]],
    },
    {
        "question_id": 7,
        "answer": "no",
        "confidence": 0.75,
        "top_answers": [["no", 0.75], ["red", 0.125]],
    },
    {"question_id": 8, "answer": "no", "confidence": 1.0, "top_answers": [["no", 1.0], ["yes", 0]]},
]
SECOND = [
    {"question_id": 20, "answer": "box"},
    {"question_id": 3, "answer": "blue"},
    {"question_id": 10, "answer": "circle"},
    {"question_id": 7, "answer": "No"},
    {"question_id": 8, "answer": "no"},
]


def table(questions: list[Question] | None = None) -> QuestionTable:
    def kinds(question: Question) -> dict[str, str]:
        return {"question_type": question.text.partition(" ")[0].lower()}

    return QuestionTable.from_questions(questions or QUESTIONS, "small", kinds)


def write(folder: Path, name: str, rows: object) -> Path:
    file = folder / f"{name}.json"
    file.write_text(json.dumps(rows))
    return file


def images(folder: Path) -> Path:
    """a.png and sub/c.png; b.png is missing."""
    (folder / "images" / "sub").mkdir(parents=True)
    Image.new("RGB", (64, 48), "red").save(folder / "images" / "a.png")
    Image.new("RGB", (640, 480), "blue").save(folder / "images" / "sub" / "c.png")
    return folder / "images"


def browser(folder: Path, *runs: object, questions: list[Question] | None = None) -> Browser:
    """A page's browser; ``runs`` are rows of prediction files, called first, second and so on."""
    files = {
        name: write(folder, name, rows)
        for name, rows in zip(("first", "second", "third"), runs, strict=False)
    }
    return Browser.of_files("small <set>", table(questions), images(folder), files)
