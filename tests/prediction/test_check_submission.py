from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from clipvil_mmf.cli.check_submission import command
from clipvil_mmf.data import easy_vqa_files

app = typer.Typer()
app.command()(command)


@pytest.fixture(scope="module")
def perfect():
    """The right answer to each test question of easy-VQA."""
    questions = easy_vqa_files.read_questions("test")
    return [{"question_id": q.question_id, "answer": next(iter(q.answers))} for q in questions]


def run(tmp_path: Path, rows, *arguments: str):
    file = tmp_path / "predictions.json"
    file.write_text(json.dumps(rows))
    return CliRunner().invoke(app, [str(file), *(arguments or ("--questions", "easy_vqa"))])


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
    assert run(tmp_path, rows, "--questions", str(file)).exit_code == 1
    assert run(tmp_path, rows, "--questions", str(file), "--format", "vqa").exit_code == 0


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
