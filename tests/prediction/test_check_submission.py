from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clipvil_mmf.cli.main import app
from clipvil_mmf.data import easy_vqa_files

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(scope="module")
def perfect():
    """The right answer to each test question of easy-VQA."""
    questions = easy_vqa_files.read_questions("test")
    return [{"question_id": q.question_id, "answer": next(iter(q.answers))} for q in questions]


def run(tmp_path: Path, rows, *arguments: str):
    file = tmp_path / "predictions.json"
    file.write_text(json.dumps(rows))
    return CliRunner().invoke(
        app, ["check-submission", str(file), *(arguments or ("--questions", "easy_vqa"))]
    )


def test_accepts_and_scores_easy_vqa(tmp_path, perfect):
    perfect = [dict(row) for row in perfect]
    for row in perfect[:10]:
        row["answer"] = "nothing"
    result = run(tmp_path, perfect)
    assert result.exit_code == 0
    assert "9,673" in result.stdout and "a server would accept it" in result.stdout
    assert result.stdout.splitlines()[-1] == "accuracy: 0.9990"


def test_refuses_with_a_list(tmp_path, perfect):
    result = run(tmp_path, [*perfect[:-7], perfect[0]])
    assert result.exit_code == 1
    assert "questions without an answer: 7" in result.stdout
    assert "  question 9666\n" in result.stdout and "  ... and 2 more\n" in result.stdout
    assert "questions answered more than once: 1\n  question 0: 2 times" in result.stdout
    assert "refuse" in result.output


def test_question_file_without_answers(tmp_path):
    file = tmp_path / "questions.json"
    rows = [{"question_id": 3, "question": "Is it?", "image_id": 1}]
    file.write_text(json.dumps({"data_subtype": "test2015", "questions": rows}))
    result = run(tmp_path, [{"question_id": 3, "answer": "yes"}], "--questions", str(file))
    assert result.exit_code == 0
    assert "accuracy" not in result.stdout


def test_format_can_be_named(tmp_path):
    file = tmp_path / "questions.json"
    file.write_text(json.dumps([{"question_id": "3", "sent": "Is it?", "img_id": "1"}]))
    rows = [{"question_id": "3", "answer": "yes"}]
    assert run(tmp_path, rows, "--questions", str(file)).exit_code == 0
    assert run(tmp_path, rows, "--questions", str(file), "--format", "gqa").exit_code == 1


def test_string_ids_in_the_layout_of_ones_own_predictions(tmp_path):
    """As MMF's own prediction file of ``clipvil_custom`` has them."""
    file = tmp_path / "questions.json"
    row = {"question_id": "a1", "image": "0.jpg", "question": "Is it?", "answer": "yes"}
    file.write_text(json.dumps([row]))
    rows = [{"question_id": "a1", "answer": "yes"}]
    result = run(tmp_path, rows, "--questions", str(file))
    assert result.exit_code == 0 and "accuracy: 1.0000" in result.stdout
    assert (
        run(
            tmp_path, [{"questionId": "a1", "prediction": "yes"}], "--questions", str(file)
        ).exit_code
        == 0
    )


@pytest.fixture
def data(tmp_path):
    """The datasets' files; a store is made beside them."""
    return Path(shutil.copytree(FIXTURES, tmp_path / "data"))


def test_a_server_wants_its_own_layout(tmp_path, data):
    given = ("--questions", "gqa", "--split", "testdev", "--root", str(data / "gqa"))
    file = data / "gqa" / "testdev_balanced_questions.json"
    ids = json.loads(file.read_text())
    right = [{"questionId": key, "prediction": "yes"} for key in ids]
    wrong = [{"question_id": key, "answer": "yes"} for key in ids]
    for named in (given, ("--questions", str(file))):
        assert run(tmp_path, right, *named).exit_code == 0
        result = run(tmp_path, wrong, *named)
        assert result.exit_code == 1 and "rows without 'questionId'" in result.stdout


def test_test_dev_alone_is_not_all_that_the_server_wants(tmp_path, data):
    file = data / "vqa2" / "v2_OpenEnded_mscoco_test-dev2015_questions.json"
    ids = [row["question_id"] for row in json.loads(file.read_text())["questions"]]
    rows = [{"question_id": key, "answer": "yes"} for key in ids]
    named = ("--questions", "vqa2", "--split", "test-dev", "--root", str(data / "vqa2"))
    for given in (named, ("--questions", str(file))):
        result = run(tmp_path, rows, *given)
        assert result.exit_code == 0 and "would accept" not in result.stdout
        remark = result.stdout.splitlines()[-1]
        assert "wants the answers to all questions of test2015" in remark
    file = file.with_name("v2_OpenEnded_mscoco_test2015_questions.json")
    assert "remark" not in run(tmp_path, rows, "--questions", str(file)).output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--questions", "none.json"), "no such file; expected a question file .* easy_vqa"),
        (("--questions", "easy_vqa", "--split", "dev"), "no split 'dev'"),
    ],
)
def test_bad_arguments_are_one_line(tmp_path, arguments, message):
    result = run(tmp_path, [], *arguments)
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert re.match(f"error: .*{message}", line)


def test_starts_without_torch_and_mmf():
    program = (
        "import sys, clipvil_mmf.cli.check_submission;"
        "print([m for m in ('torch', 'mmf', 'omegaconf') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout.strip() == "[]"
