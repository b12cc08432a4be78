"""Confidence and further answers: written, checked, stripped, scored."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from clipvil_mmf.cli.main import app
from clipvil_mmf.config import ConfigError
from clipvil_mmf.prediction.selective import selective
from clipvil_mmf.tasks import TASKS, build_task
from clipvil_mmf.tasks.confidence import PredictionParams, add_confidence, prediction_params

LABELS = ["red", "blue", "green"]
SCORES = torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.0, 3.0]])


def command(name: str, *arguments: object):
    return CliRunner().invoke(app, [name, *map(str, arguments)])


def rows_of(task, **params):
    """The rows of two samples."""
    choices = [[("blue", "pink"), ("pink",)]] if task.choice_field else []
    rows = task.prediction_rows([7, 8], SCORES, LABELS, *choices)
    add_confidence(rows, SCORES.bfloat16(), LABELS, task, PredictionParams(**params))
    return rows


@pytest.mark.parametrize("name", [name for name, (_, task) in TASKS.items() if not task.writes_csv])
def test_each_task_says_how_sure_it_is(name):
    task = build_task(name)
    expected = task.probabilities(SCORES)
    rows = rows_of(task, confidence=True, top_k=2)
    for row, values in zip(rows, expected, strict=True):
        assert row["confidence"] == pytest.approx(float(values.max()), abs=2e-3)
        best, second = row["top_answers"]
        assert best == [row[task.row_fields[1]], row["confidence"]]
        assert second[1] == pytest.approx(float(values.topk(2).values[1]), abs=2e-3)
    json.dumps(task.prediction_file(rows))


def test_a_choice_has_a_confidence_of_its_own():
    first, second = rows_of(build_task("aokvqa"), confidence=True)
    assert first["multiple_choice"] == "blue" and first["choice_confidence"] == 0.5
    # None of its choices is a label.
    assert second["multiple_choice"] == "pink" and second["choice_confidence"] is None


def test_rows_without_a_label_have_no_confidence():
    rows, params = [{"image": "a.jpg", "answerable": 0.3}], PredictionParams(confidence=True)
    with pytest.raises(ConfigError, match="rows of the task vizwiz have no 'answer'"):
        add_confidence(rows, SCORES[:1], LABELS, build_task("vizwiz"), params)


def test_fields_are_written_where_they_are_asked_for():
    task = build_task("vqa")
    assert list(rows_of(task)[0]) == ["question_id", "answer"]
    assert list(rows_of(task, confidence=True)[0])[2:] == ["confidence"]
    assert list(rows_of(task, top_k=9)[0])[2:] == ["top_answers"]
    assert len(rows_of(task, top_k=9)[0]["top_answers"]) == 3


@pytest.mark.parametrize(
    ("task", "config", "message"),
    [
        ("vqa", {"prediction": {"confidence": "yes please"}}, "prediction.confidence: got"),
        ("vqa", {"prediction": {"top_k": 0}}, "prediction.top_k: got 0, expected at least 1"),
        ("vqa", {"prediction": {"topk": 5}}, "prediction.topk: unknown key. Did you mean 'top_k'"),
        ("nlvr2", {"prediction": {"top_k": 5}}, "the task nlvr2 writes CSV"),
        (
            "vqa",
            {"prediction": {"top_k": 5}, "evaluation": {"predict_file_format": "csv"}},
            "predict_file_format is csv.*set it to json",
        ),
        (
            "gqa",
            {
                "prediction": {"confidence": True},
                "evaluation": {"reporter": {"params": {"predict_file_format": "csv"}}},
            },
            "predict_file_format is csv",
        ),
    ],
)
def test_what_has_no_room_is_one_error(task, config, message):
    with pytest.raises(ConfigError, match=message):
        prediction_params(config, build_task(task))


def test_csv_is_no_error_without_further_fields():
    config = {"evaluation": {"predict_file_format": "csv"}, "prediction": {"top_k": 1}}
    assert not prediction_params(config, build_task("nlvr2")).adds_fields
    assert not prediction_params({}, build_task("vqa")).adds_fields


def test_calibration_and_risk():
    """Four answers, by hand: of the surest ones 1, 2, 3 and 4 are right 100, 100, 67 and 50 %."""
    found = selective([0.9, 0.8, 0.7, 0.1], [1, 1, 0, 0])
    assert found.questions == 4 and found.mean_confidence == 62.5
    # Each answer has a bin of its own: distances 0.1, 0.2, 0.7 and 0.1.
    assert found.calibration_error == 27.5
    assert found.risk_coverage_area == round(100 * (0 + 0 + 1 / 3 + 1 / 2) / 4, 2)
    assert found.coverage_at_risk == {1: 50, 5: 50, 10: 50, 20: 50}
    assert found.accuracy_at_coverage == {25: 100, 50: 100, 75: 66.67}


def test_equal_confidences_have_no_order():
    for scores in ([1, 0, 0, 0], [0, 0, 0, 1]):
        found = selective([0.5] * 4, scores)
        assert found.accuracy_at_coverage == {25: 25, 50: 25, 75: 25}
        assert found.coverage_at_risk[20] == 0 and found.risk_coverage_area == 75


@pytest.fixture
def asked(tmp_path: Path) -> tuple[Path, Path]:
    """A question file with labels, and predictions with confidences."""
    Image.new("RGB", (64, 48), "red").save(tmp_path / "a.png")
    image = str(tmp_path / "a.png")
    questions = [
        {"question_id": i, "question": "What?", "image": image, "answer": answer}
        for i, answer in enumerate(["red", "blue", "green", "red"])
    ]
    answers = [("red", 0.9), ("blue", 0.8), ("red", 0.7), ("blue", 0.6)]
    predictions = [
        {
            "question_id": i,
            "answer": answer,
            "confidence": sure,
            "top_answers": [[answer, sure], ["green", 0.1]],
        }
        for i, (answer, sure) in enumerate(answers)
    ]
    for name, content in {"questions": questions, "predictions": predictions}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return tmp_path / "questions.json", tmp_path / "predictions.json"


def test_strip_makes_the_leaderboard_file(asked, tmp_path):
    questions, predictions = asked
    given = (predictions, "--questions", questions)
    done = command("check-submission", *given)
    assert done.exit_code == 0 and "--strip FILE writes them without" in done.stdout
    done = command("check-submission", *given, "--strip", tmp_path / "plain.json")
    assert done.exit_code == 0, done.output
    assert f"written: {tmp_path / 'plain.json'}" in done.stdout
    rows = json.loads((tmp_path / "plain.json").read_text())
    assert rows[0] == {"question_id": 0, "answer": "red"} and len(rows) == 4
    again = command("check-submission", tmp_path / "plain.json", "--questions", questions)
    assert "remark" not in again.stdout
    # No file is replaced.
    done = command("check-submission", *given, "--strip", predictions)
    assert f"written: {tmp_path / 'predictions-2.json'}" in done.stdout
    done = command("check-submission", *given, "--strip", tmp_path / "plain.csv")
    assert done.exit_code == 1 and "expected a name ending in .json" in done.output


def test_what_is_refused_is_not_stripped(asked, tmp_path):
    questions, predictions = asked
    predictions.write_text(json.dumps(json.loads(predictions.read_text())[1:]))
    given = (predictions, "--questions", questions, "--strip", tmp_path / "plain.json")
    assert command("check-submission", *given).exit_code == 1
    assert not (tmp_path / "plain.json").exists()


def test_strip_of_aokvqas_object(tmp_path):
    questions = [
        {
            "split": "test",
            "image_id": 1,
            "question_id": "q",
            "question": "What?",
            "choices": ["a", "b", "c", "d"],
            "difficult_direct_answer": False,
        }
    ]
    (tmp_path / "aokvqa_v1p0_test.json").write_text(json.dumps(questions))
    plain = {"direct_answer": "x", "multiple_choice": "a"}
    row = {**plain, "confidence": 0.5, "choice_confidence": None, "top_answers": [["x", 0.5]]}
    (tmp_path / "p.json").write_text(json.dumps({"q": row}))
    given = ("--questions", tmp_path / "aokvqa_v1p0_test.json", "--strip", tmp_path / "plain.json")
    done = command("check-submission", tmp_path / "p.json", *given)
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "plain.json").read_text()) == {"q": plain}


def test_score_uses_them(asked):
    questions, predictions = asked
    done = command("score", predictions, "--questions", questions, "--json")
    found = json.loads(done.stdout)
    assert found["overall"]["accuracy"] == 50 and found["best_of_top"]["accuracy"] == 75
    assert found["confidence"]["questions"] == 4
    assert found["confidence"]["accuracy_at_coverage"] == {"25": 100, "50": 100, "75": 66.67}
    lines = command("score", predictions, "--questions", questions).stdout
    assert "if the best of top_answers counted" in lines and "calibration error" in lines


def test_show_draws_them(asked, tmp_path):
    questions, predictions = asked
    pictures = []
    for change in (None, 0.123):
        rows = json.loads(predictions.read_text())
        rows[0]["confidence"] = change
        predictions.write_text(json.dumps(rows))
        given = ("--questions", questions, "--questions-per-image", 4, "--output")
        done = command("show", predictions, *given, tmp_path / "p.png")
        assert done.exit_code == 0, done.output
        pictures.append((tmp_path / "p.png").read_bytes())
    assert pictures[0] != pictures[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"confidence": 1.5}, r"question 0 has the confidence 1\.5; expected a number in \[0, 1\]"),
        ({"confidence": True}, "the confidence true"),
        ({"top_answers": "red"}, "the top_answers .*expected .*answer, confidence"),
        ({"top_answers": [["red"]]}, "the top_answers"),
    ],
)
def test_damaged_confidences_are_named(asked, change, message):
    questions, predictions = asked
    rows = json.loads(predictions.read_text())
    predictions.write_text(json.dumps([{**rows[0], **change}, *rows[1:]]))
    done = command("score", predictions, "--questions", questions)
    assert done.exit_code == 1

    assert re.search(message, done.output), done.output
