"""Scores and checks by the rules of OK-VQA, A-OKVQA, VizWiz, Visual Genome and ST-VQA, by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clipvil_mmf.cli.main import app
from clipvil_mmf.prediction.rules import anls, vizwiz_accuracy
from clipvil_mmf.prediction.submission import LAYOUTS, layout_of_rows

FIXTURES = Path(__file__).parents[1] / "fixtures"


def run(command, *arguments):
    return CliRunner().invoke(app, [command, *map(str, arguments)])


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def score(tmp_path, questions, predictions):
    file = write(tmp_path / "p.json", predictions)
    result = run("score", file, "--questions", write(tmp_path / "q.json", questions), "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_vizwiz_normalises_the_prediction_alone_and_always():
    assert vizwiz_accuracy("Yes.", ("yes",) * 10) == 1.0  # the VQA accuracy is 0: all agree
    assert vizwiz_accuracy("two", ("two",) * 10) == 0.0  # it becomes 2
    assert vizwiz_accuracy("The can", (*("can",) * 2, *("soda",) * 8)) == pytest.approx(0.6)


def test_vizwiz_by_answerable_and_answer_type(tmp_path):
    rows = [
        {
            "image": f"VizWiz_val_0000000{place}.jpg",
            "question": "?",
            "answers": [{"answer": answer, "answer_confidence": "yes"}] * 10,
            "answer_type": kind,
            "answerable": answerable,
        }
        for place, (answer, kind, answerable) in enumerate(
            [("can", "other", 1), ("unanswerable", "unanswerable", 0), ("no", "yes/no", 1)]
        )
    ]
    given = ["Can", "unanswerable", "yes"]
    predictions = [{"image": r["image"], "answer": a} for r, a in zip(rows, given, strict=True)]
    scores = score(tmp_path, rows, predictions)
    assert scores["rule"] == "VizWiz accuracy, ten annotators"
    assert scores["overall"] == {"accuracy": 66.67, "questions": 3}
    assert scores["groups"]["answerable"] == {
        "no": {"accuracy": 100.0, "questions": 1},
        "yes": {"accuracy": 50.0, "questions": 2},
    }
    assert scores["groups"]["answer type"]["yes/no"] == {"accuracy": 0.0, "questions": 1}


def vizwiz_questions(tmp_path, *answerable):
    rows = [
        {
            **{"image": f"VizWiz_val_0000000{place}.jpg", "question": "?", "answerable": known},
            "answers": [{"answer": "can", "answer_confidence": "yes"}] * 10,
            "answer_type": "other",
        }
        for place, known in enumerate(answerable)
    ]
    return [row["image"] for row in rows], write(tmp_path / "q.json", rows)


def test_vizwiz_answerability(tmp_path):
    """Of what cannot be answered: found at rank 1 and 3, with one of the two above a half."""
    images, questions = vizwiz_questions(tmp_path, 0, 1, 0, 1)
    numbers = [0.1, 0.4, 0.6, 1]
    rows = [{"image": i, "answerable": n} for i, n in zip(images, numbers, strict=True)]
    file = write(tmp_path / "p.json", rows)
    result = run("score", file, "--questions", questions, "--json")
    assert json.loads(result.stdout) == {
        "rule": "VizWiz answerability: of the questions that cannot be answered",
        "average_precision": 83.33,
        "f1": 50.0,
        "questions": 4,
    }
    assert "average precision" in run("score", file, "--questions", questions).stdout
    result = run("check-submission", file, "--questions", questions)
    assert result.exit_code == 0, result.output
    assert "vizwiz_answerable leaderboard file" in result.output
    assert "accuracy" not in result.output
    result = run("show", file, "--questions", questions, "--output", tmp_path / "p.png")
    assert result.exit_code == 1 and "holds numbers (answerable); expected" in result.output
    result = run("score", write(file, rows[1:]), "--questions", questions)
    assert result.exit_code == 1 and "1 of 4 questions have no number" in result.output


@pytest.mark.parametrize("wrong", [1.5, "0.5", True, None])
def test_answerability_is_a_number(tmp_path, wrong):
    (image,), questions = vizwiz_questions(tmp_path, 1)
    file = write(tmp_path / "p.json", [{"image": image, "answerable": wrong}])
    result = run("check-submission", file, "--questions", questions)
    assert result.exit_code == 1
    assert "answerable is not a number in [0, 1]: 1" in result.output


def test_visual_genome(tmp_path):
    qas = [
        {"qa_id": key, "image_id": 1, "question": "?", "answer": answer}
        for key, answer in enumerate(["On the wall.", "Two.", "Red."])
    ]
    given = ["on a wall", "2", "blue"]
    rows = [{"question_id": key, "answer": answer} for key, answer in enumerate(given)]
    scores = score(tmp_path, [{"id": 1, "qas": qas}], rows)
    assert scores["rule"] == "exact match, normalised as by the official VQA evaluation"
    assert scores["overall"] == {"accuracy": 66.67, "questions": 3}


@pytest.mark.parametrize(
    ("given", "expected"),
    [(" stop", 1.0), ("stap", 0.75), ("stopped", 4 / 7), ("go", 0.0), ("ha", 0.5), ("", 0.0)],
)
def test_anls(given, expected):
    # 1 - edit distance / length of the longer one: stap 1 - 1/4, stopped 1 - 3/7, ha 1 - 2/4.
    assert anls(given, {"stop": 1.0, "halt": 1.0}) == pytest.approx(expected)


def test_stvqa_and_textvqa(tmp_path):
    row = {"question_id": 1, "question": "?", "answers": ["STOP", "Halt"]}
    predictions = [{"question_id": 1, "answer": "Stap"}]
    scores = score(tmp_path, {"data": [{**row, "file_path": "a/b.jpg"}]}, predictions)
    assert scores["overall"] == {"accuracy": 75.0, "questions": 1}
    assert scores["rule"] == "average normalised Levenshtein similarity (ST-VQA)"
    people = {**row, "image_id": "a", "answers": ["a cab"] * 3 + ["bus"] * 7}
    scores = score(tmp_path, {"data": [people]}, [{"question_id": 1, "answer": "cab"}])
    assert scores["overall"] == {"accuracy": 90.0, "questions": 1}


def test_okvqa_by_name(tmp_path):
    root = tmp_path / "okvqa"
    root.mkdir()
    for file in (FIXTURES / "okvqa").glob("*_val2014_*.json"):
        shutil.copy(file, root)
    annotations = json.loads((root / "mscoco_val2014_annotations.json").read_text())
    rows = [
        {"question_id": row["question_id"], "answer": row["answers"][0]["answer"]}
        for row in annotations["annotations"]
    ]
    file = write(tmp_path / "p.json", rows)
    named = ("--questions", "okvqa", "--root", root)
    scores = json.loads(run("score", file, *named, "--json").stdout)
    # Each person's answer stands there twice: 0.6 at least.
    assert scores["rule"].startswith("official VQA") and scores["overall"]["accuracy"] >= 60
    result = run("check-submission", file, *named)  # its test split is val
    assert result.exit_code == 0, result.output


def question(key, **change):
    return {
        **{"split": "val", "image_id": 1, "question_id": key, "question": "?"},
        **{"choices": ["cab", "bus"], "correct_choice_idx": 0, "difficult_direct_answer": False},
        **{"direct_answers": ["cab"] * 2 + ["taxi"] * 8},
        **change,
    }


AOKVQA = [question("a"), question("b"), question("c", difficult_direct_answer=True)]


def aokvqa(**rows):
    return {
        key: {"direct_answer": direct, "multiple_choice": choice}
        for key, (direct, choice) in rows.items()
    }


def test_aokvqa_in_both_settings(tmp_path):
    given = aokvqa(a=("cab", "cab"), b=("Taxi", "bus"), c=("taxi", "cab"))
    scores = score(tmp_path, AOKVQA, given)
    # 2 / 3, and 0 for a capital; c is difficult.
    assert scores["overall"] == {"accuracy": 33.33, "questions": 2}
    assert scores["left_out"] == 1
    assert scores["multiple_choice"]["overall"] == {"accuracy": 66.67, "questions": 3}
    result = run("score", tmp_path / "p.json", "--questions", tmp_path / "q.json")
    assert "A-OKVQA, multiple choice" in result.stdout
    assert "for questions with difficult direct answers, not counted: 1" in result.stdout


@pytest.mark.parametrize("missing", [{}, {"direct_answer": None}])
def test_aokvqa_in_one_setting(tmp_path, missing):
    given = {key: {"multiple_choice": "cab", **missing} for key in "abc"}
    scores = score(tmp_path, AOKVQA, given)
    assert scores["rule"] == "A-OKVQA, multiple choice" and "multiple_choice" not in scores
    assert scores["overall"] == {"accuracy": 100.0, "questions": 3}
    result = run("check-submission", tmp_path / "p.json", "--questions", tmp_path / "q.json")
    assert result.exit_code == 0, result.output
    assert "accuracy of choices: 1.0000" in result.output and "accuracy: " not in result.output
    rows = [{"question_id": "a", "direct_answer": "taxi"}]
    scores = score(tmp_path, AOKVQA, rows)
    assert scores["overall"] == {"accuracy": 50.0, "questions": 2} and scores["missing"] == 1
    assert "multiple_choice" not in scores


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        (aokvqa(a=("cab", "cab"), b=("cab", "cab")), "questions without an answer: 1"),
        (aokvqa(a=("x", "tram"), b=("x", "cab"), c=("x", "bus")), "none of the choices: 1"),
        (aokvqa(a=("x", "cab"), b=(None, "cab"), c=("x", "bus")), "that are not strings: 1"),
        (aokvqa(a=("x", "cab"), b=("x", "cab"), d=("x", "bus")), "ids of no question: 1"),
        ({**aokvqa(a=("x", "cab"), b=("x", "cab")), "c": {}}, "rows without 'multiple_choice': 1"),
    ],
)
def test_what_aokvqas_server_would_refuse(tmp_path, given, fault):
    questions = write(tmp_path / "q.json", AOKVQA)
    result = run("check-submission", write(tmp_path / "p.json", given), "--questions", questions)
    assert result.exit_code == 1
    assert fault in result.output and "a server would refuse it" in result.output


def test_the_layout_is_that_of_the_rows():
    assert layout_of_rows([{"question_id": "a", "multiple_choice": "b"}]) is LAYOUTS["aokvqa"]
    assert layout_of_rows([{"question_id": "a", "direct_answer": "b"}]) is LAYOUTS["aokvqa"]
    assert layout_of_rows([{"image": "a.jpg", "answer": "b"}]) is LAYOUTS["vizwiz"]
    assert layout_of_rows([{"image": "a.jpg", "answerable": 1}]) is LAYOUTS["vizwiz_answerable"]
    assert layout_of_rows([{"question_id": "a"}]) is LAYOUTS["vqa"]
    assert layout_of_rows([{"answer": "a"}], "vizwiz") is LAYOUTS["vizwiz"]
