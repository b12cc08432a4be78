"""Prediction files as columns."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from clipvil_mmf.browsing.grading import Grader
from clipvil_mmf.browsing.runs import read_run
from clipvil_mmf.data.questions import Question
from clipvil_mmf.data.table import TableBuilder
from clipvil_mmf.prediction.submission import SubmissionError, read_submission
from tests.browsing.small import FIRST, QUESTIONS, SECOND, table, write


def answers(run) -> list:
    return [run.answer(row) for row in range(len(run.codes))]


def test_columns(tmp_path) -> None:
    run = read_run("first", write(tmp_path, "first", FIRST), table(), None)
    assert answers(run) == ["ring", "red", "no", "no", None]
    np.testing.assert_allclose(run.confidences, [0.5, 0.9, 0.75, 1.0, np.nan], rtol=1e-6)
    assert run.top(0) == [("ring", 0.5), ("circle", 0.25), ("box", 0.125)] and run.top(4) == []
    assert run.is_sure and not run.has_losses
    run.grade(Grader(table()))
    np.testing.assert_allclose(run.scores, [0.6, 1, 0, 1, 0], rtol=1e-6)
    expected = [-np.log(0.25), -np.log(0.9), -np.log(0.125), 0, np.nan]
    np.testing.assert_allclose(run.losses, expected, rtol=1e-5, atol=1e-7)
    assert run.is_bound.tolist() == [False, False, True, False, False]


def test_a_plain_file_and_the_other_run(tmp_path) -> None:
    first = read_run("first", write(tmp_path, "first", FIRST), table(), None)
    second = read_run("second", write(tmp_path, "second", SECOND), table(), None)
    assert answers(second) == ["circle", "blue", "No", "no", "box"]
    second.grade(Grader(table()))
    assert not second.is_sure and not second.has_losses
    # What one does not answer is no disagreement.
    assert first.unlike(second).tolist() == [True, True, True, False, False]
    assert second.unlike(first).tolist() == first.unlike(second).tolist()
    assert second.saying("NO").tolist() == [False, False, True, True, False]


def test_confidence_of_right_answers_alone_gives_their_loss(tmp_path) -> None:
    rows = [{key: row[key] for key in ("question_id", "answer", "confidence")} for row in FIRST]
    run = read_run("first", write(tmp_path, "first", rows), table(), None)
    run.grade(Grader(table()))
    expected = [np.nan, -np.log(0.9), np.nan, 0, np.nan]
    np.testing.assert_allclose(run.losses, expected, rtol=1e-5, atol=1e-7)
    assert not run.is_bound.any()


@pytest.mark.parametrize("block", [1, 7, 100, 1000])
@pytest.mark.parametrize("indent", [None, 2])
def test_it_is_what_score_reads(tmp_path, monkeypatch, block: int, indent: int | None) -> None:
    """Wherever its blocks end."""
    monkeypatch.setattr("clipvil_mmf.browsing.runs._BLOCK", block)
    file = tmp_path / "first.json"
    file.write_text(json.dumps(FIRST, indent=indent) + "\n")
    found = read_submission(file, table().ids())
    monkeypatch.setattr("clipvil_mmf.browsing.runs._read_whole", None)
    run = read_run("first", file, table(), None)
    assert {q.question_id: a for q, a in zip(QUESTIONS, answers(run), strict=True) if a} == (
        found.predictions
    )
    tops = {q.question_id: run.top(n) for n, q in enumerate(QUESTIONS) if run.top(n)}
    assert tops == {key: [(a, pytest.approx(c)) for a, c in top] for key, top in found.top.items()}


@pytest.mark.parametrize("block", [1, 20, 1000])
def test_a_cut_in_an_answer_or_in_a_nested_object(tmp_path, monkeypatch, block: int) -> None:
    monkeypatch.setattr("clipvil_mmf.browsing.runs._BLOCK", block)
    said = ['x", "a": 1}, {"question_id": 3', "}, {", "[{", "\\"]
    rows = [
        {"question_id": row["question_id"], "answer": answer, "more": [{"a": {}}, {"b": 1}]}
        for row, answer in zip(FIRST, said, strict=True)
    ]
    assert answers(read_run("odd", write(tmp_path, "odd", rows), table(), None)) == [*said, None]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"question_id": 11, "answer": "red"}], "does not fit the questions: ids of no question"),
        ([{"question_id": "10", "answer": "red"}], "wrong type"),
        ([{"question_id": True, "answer": "red"}], "ids of no question"),
        ([FIRST[0], FIRST[0]], "answered more than once"),
        ([{"question_id": 10, "answer": 5}], "not strings"),
        ([{"question_id": 10, "answer": None}], "not strings"),
        ([{"question_id": 10}], "rows without 'answer'"),
        ([{"question_id": 10, "answer": "red", "confidence": 2}], "expected a number in"),
        ([{"question_id": 10, "answer": "red", "confidence": True}], "expected a number in"),
        ([{"question_id": 10, "answer": "red", "confidence": math.nan}], "expected a number in"),
        ([{"question_id": 10, "answer": "\ud800"}], "not valid Unicode"),
        ([{"question_id": 10, "answer": "red", "top_answers": [["red", math.nan]]}], "top_answers"),
        ([{"question_id": 10, "answer": "red", "top_answers": [["red", None]]}], "top_answers"),
        ([{"question_id": 10, "answer": "red", "top_answers": [["red"]]}], "top_answers"),
        ([{"question_id": 10, "answer": "red", "top_answers": [[1, 0.5]]}], "top_answers"),
        ([17], "rows without"),
        ([], "holds no predictions"),
        (5, "holds a JSON int"),
    ],
)
def test_faults_are_named(tmp_path, rows, message: str) -> None:
    with pytest.raises(SubmissionError, match=message):
        read_run("first", write(tmp_path, "first", rows), table(), None)


def test_a_file_cut_short(tmp_path) -> None:
    file = tmp_path / "cut.json"
    file.write_text(json.dumps(FIRST)[:-20])
    with pytest.raises(SubmissionError, match="not valid JSON"):
        read_run("cut", file, table(), None)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_run("gone", tmp_path / "gone.json", table(), None)


def test_choices_alone(tmp_path) -> None:
    builder = TableBuilder("A-OKVQA", "made")
    for key in ("q1", "q2"):
        builder.add(key, "?", "a.png", {"animal": 1.0})
        builder.add_choices(("cat", "dog"), "cat")
    made = builder.build()
    choices = {"q1": ("cat", "dog"), "q2": ("cat", "dog")}
    file = write(tmp_path, "a", {"q1": {"multiple_choice": "dog", "choice_confidence": 0.5}})
    run = read_run("a", file, made, choices)
    assert run.is_chosen and answers(run) == ["dog", None] and run.confidences[0] == 0.5
    file = write(tmp_path, "b", {"q1": {"multiple_choice": "bird"}})
    with pytest.raises(SubmissionError, match="none of the choices"):
        read_run("b", file, made, choices)


def test_csv(tmp_path) -> None:
    ids = table([Question("a-0", "?", "a.png", {"True": 1.0})])
    (tmp_path / "rows.csv").write_text("a-0,True\n")
    assert answers(read_run("rows", tmp_path / "rows.csv", ids, None)) == ["True"]
