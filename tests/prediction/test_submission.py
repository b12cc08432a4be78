from __future__ import annotations

import pytest

from clipvil_mmf.data.questions import Question
from clipvil_mmf.data.table import QuestionTable
from clipvil_mmf.prediction.scoring import score
from clipvil_mmf.prediction.submission import (
    LAYOUTS,
    SubmissionError,
    check_submission,
    layout_of_rows,
    read_rows,
)

VQA = [Question(i, "is it?", "0.png", {"yes": 1.0, "no": 0.3}) for i in range(10, 14)]
GQA = [Question(f"0{i}", "is it?", "0.png", {"yes": 1.0}) for i in range(4)]


def rows(**changes):
    """A perfect file, with some rows changed: `r1={...}` updates row 1, `r1=None` drops it."""
    perfect = [{"question_id": i, "answer": "yes"} for i in range(10, 14)]
    changed = [(row, changes.get(f"r{i}", {})) for i, row in enumerate(perfect)]
    return [{**row, **change} for row, change in changed if change is not None]


def ids(questions):
    return [question.question_id for question in questions]


def problems(content, questions=VQA, layout="vqa"):
    submission = check_submission(content, ids(questions), LAYOUTS[layout])
    assert submission.accepted == (not submission.problems)
    return {problem.what: (problem.count, problem.examples) for problem in submission.problems}


def test_a_perfect_file_is_accepted():
    assert problems(rows()) == {}
    submission = check_submission(rows()[::-1], ids(VQA), LAYOUTS["vqa"])
    assert (submission.rows, submission.expected) == (4, 4)
    assert submission.predictions == dict.fromkeys(range(10, 14), "yes")


def test_gqa_layout():
    good = [{"questionId": f"0{i}", "prediction": "yes"} for i in range(4)]
    assert problems(good, GQA, "gqa") == {}
    assert problems(rows(), GQA, "gqa")["rows without 'questionId'"][0] == 4


def test_the_layout_is_that_of_the_rows():
    gqa = {"questionId": "1", "prediction": "yes"}
    assert layout_of_rows([3, {}, gqa]) is LAYOUTS["gqa"]
    assert layout_of_rows([{"question_id": "a1", "answer": "yes"}, gqa]) is LAYOUTS["vqa"]
    assert layout_of_rows([]) is LAYOUTS["vqa"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (rows(r1=None), {"questions without an answer": (1, ("question 11",))}),
        (
            [*rows(), {"question_id": 11, "answer": "no"}],
            {"questions answered more than once": (1, ("question 11: 2 times",))},
        ),
        (
            [*rows(), {"question_id": 99, "answer": "no"}],
            {"ids of no question": (1, ("row 4: 99",))},
        ),
        (
            rows(r2={"question_id": "12"}),
            {"ids of the wrong type (expected int)": (1, ("row 2: '12'",))},
        ),
        (rows(r0={"answer": 3}), {"answers that are not strings": (1, ("question 10: 3",))}),
        (rows(r0={"answer": None}), {"answers that are not strings": (1, ("question 10: null",))}),
        (
            [*rows(r3=None), {"question_id": 13}],
            {"rows without 'answer'": (1, ("row 3: question 13",))},
        ),
        (
            [*rows(), ["a"]],
            {"rows without 'question_id'": (1, ('row 4: ["a"]',))},
        ),
        (
            [*rows(), {"question_id": True, "answer": "no"}, {"question_id": 1.5, "answer": "no"}],
            {"ids of no question": (2, ("row 4: True", "row 5: 1.5"))},
        ),
    ],
)
def test_what_a_server_would_refuse(content, expected):
    assert problems(content) == expected


def test_ids_of_gqa_are_strings():
    content = [{"questionId": i, "prediction": "yes"} for i in range(4)]
    questions = [Question(str(i), "is it?", "0.png") for i in range(4)]
    assert problems(content, questions, "gqa").keys() == {"ids of the wrong type (expected str)"}


def test_only_the_first_offenders_are_named():
    questions = [Question(i, "is it?", "0.png") for i in range(100)]
    assert problems([], questions) == {
        "questions without an answer": (100, tuple(f"question {i}" for i in range(5)))
    }


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"p\.json does not exist"):
        read_rows(tmp_path / "p.json")
    (tmp_path / "p.json").write_text('[{"question_id": 1')
    with pytest.raises(SubmissionError, match=r"not valid JSON .* cut off"):
        read_rows(tmp_path / "p.json")
    (tmp_path / "p.json").write_text("{}")
    with pytest.raises(SubmissionError, match="holds a JSON dict; expected a list"):
        read_rows(tmp_path / "p.json")


def test_predictions_with_a_byte_order_mark(tmp_path):
    (tmp_path / "p.json").write_text('[{"question_id": 1}]', encoding="utf-8-sig")
    assert read_rows(tmp_path / "p.json") == [{"question_id": 1}]
    (tmp_path / "p.json").write_text("[]", encoding="utf-16")
    with pytest.raises(SubmissionError, match=r"p\.json is in UTF-16 or UTF-32"):
        read_rows(tmp_path / "p.json")
    (tmp_path / "p.json").write_text("[" * 100_000)
    with pytest.raises(SubmissionError, match=r"p\.json is not valid JSON"):
        read_rows(tmp_path / "p.json")


def test_score_is_over_all_questions():
    table = QuestionTable.from_questions(VQA, "vqa")
    assert score({10: "yes", 11: "no", 12: "maybe"}, table) == pytest.approx((1 + 0.3) / 4)
    assert score(dict.fromkeys(range(10, 14), "yes"), table) == 1.0


def test_no_score_without_answers():
    table = QuestionTable.from_questions([Question(10, "is it?", "0.png")], "vqa")
    assert score({10: "yes"}, table) is None
