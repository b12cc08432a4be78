"""The rule from the pre-training's answers to a task's, against the recorded numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from clipvil_mmf.checkpoints import CheckpointError
from clipvil_mmf.checkpoints.published.answers import (
    read_answer_table,
    rows_of,
    take_rows,
)
from clipvil_mmf.pretraining_answers import pretraining_form
from tests.golden.compare import GOLDEN

CASES = json.loads((GOLDEN / "data_side.json").read_text())["convert_ans"]


@pytest.mark.parametrize(("answer", "expected"), CASES.items())
def test_recorded_cases(answer: str, expected: str) -> None:
    assert pretraining_form(answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        *zip(
            "one two three four five six seven eight nine ten".split(),  # noqa: SIM905
            map(str, range(1, 11)),
            strict=True,
        ),
        ("eleven", "eleven"),
        ("ten men", "ten men"),
        # Blanks go where something before or behind them went, and only there.
        ("a  man", "man"),
        ("an   apple", "apple"),
        ("the  dog", "dog"),
        ("man .", "man"),
        (" man", " man"),
        ("man ", "man "),
        ("a man .", "man"),
        # Articles go in one order, each once; man and woman are whole answers that lose another.
        ("the a dog", "a dog"),
        ("the a man", "man"),
        ("the the man", "man"),
        ("an a woman", "woman"),
        ("the the woman", "woman"),
        ("the a  man", "a  man"),
        ("the an elephant", "an elephant"),
        ("man..", "man."),
    ],
)
def test_the_published_rule(answer: str, expected: str) -> None:
    assert pretraining_form(answer) == expected


# Spellings of one entry of the table that the rule brings together.
SPELLINGS = ("{}", "{}.", "a {}", "An {}", "THE {}", "a the {}.")


@pytest.mark.parametrize(("task", "found", "missing"), [("vqa", 3124, 5), ("gqa", 1736, 106)])
def test_recorded_rows(task: str, found: int, missing: int) -> None:
    """The recorded rows come out of the rule when the answers are spelled in other ways."""
    rows = np.load(GOLDEN / "qa_map.npz")[task].astype(int)
    table = [f"thing {row}" for row in range(9500)]
    answers = [
        SPELLINGS[place % len(SPELLINGS)].format(table[row]) if row >= 0 else f"absent {place}"
        for place, row in enumerate(rows)
    ]
    found_rows = rows_of(answers, table, pretraining_form)
    assert found_rows.tolist() == rows.tolist()
    assert (rows >= 0).sum() == found

    head = torch.arange(9500.0)[:, None] + torch.tensor([[1.0, 2.0]])
    taken = take_rows(head, found_rows)
    assert taken.shape == (len(rows), 2)
    assert (taken[rows < 0] == 0).all() and (rows < 0).sum() == missing
    assert taken[rows >= 0, 0].tolist() == (rows[rows >= 0] + 1).tolist()


def test_numbers_and_grey() -> None:
    answers = ["Two", "grey", "2", "ten", "twenty"]
    rows = rows_of(answers, ["2", "gray", "10"], pretraining_form)
    assert rows.tolist() == [0, 1, 0, 2, -1]


def test_table_files(tmp_path: Path) -> None:
    file = tmp_path / "all_ans.json"
    file.write_text(json.dumps([{"ans": "yes", "dsets": ["vqa"]}, {"ans": "no", "dsets": []}]))
    assert read_answer_table(file) == ["yes", "no"]
    file.write_text('["no", "yes"]')
    assert read_answer_table(file) == ["no", "yes"]
    lines = tmp_path / "answers.txt"
    lines.write_text("a\nb\n")
    assert read_answer_table(lines) == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ('{"yes": 1}', "expected a list of answers, got a dict"),
        ("[]", "no answers; expected"),
        ('["yes", 3]', "has 3 in entry 1"),
        ('[{"answer": "yes"}]', "in entry 0"),
    ],
)
def test_what_is_not_a_table(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "table.json"
    file.write_text(content)
    with pytest.raises(CheckpointError, match=rf"table\.json.*{message}"):
        read_answer_table(file)


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.json does not exist.*all_ans\.json"):
        read_answer_table(tmp_path / "gone.json")
