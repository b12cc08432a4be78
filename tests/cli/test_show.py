from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from clipvil_mmf.cli.main import app
from clipvil_mmf.cli.show import Only, choose
from clipvil_mmf.data import easy_vqa_files
from clipvil_mmf.data.questions import Question
from clipvil_mmf.prediction.picture import Answered, Cell, draw
from tests.checkpoints.conftest import publish  # noqa: F401 (a fixture)
from tests.test_hub import LANDSCAPE, imported  # noqa: F401 (a fixture)


@pytest.fixture(scope="module")
def perfect():
    """The right answer to each test question of easy-VQA."""
    questions = easy_vqa_files.read_questions("test")
    return [{"question_id": q.question_id, "answer": next(iter(q.answers))} for q in questions]


def run(tmp_path: Path, rows, *arguments: str):
    file = tmp_path / "predictions.json"
    file.write_text(json.dumps(rows))
    given = list(arguments) or ["--questions", "easy_vqa"]
    return CliRunner().invoke(app, ["show", str(file), "--output", str(tmp_path / "p.png"), *given])


def questions_of(images: int, each: int) -> list[Question]:
    return [
        Question(image * each + number, f"question {number}?", f"{image}.png", {"yes": 1.0})
        for image in range(images)
        for number in range(each)
    ]


def test_draws_predictions(tmp_path, perfect):
    result = run(tmp_path, perfect, "--questions", "easy_vqa", "--images", "5")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1:] == ["right: 10 of 10"]
    picture = Image.open(tmp_path / "p.png")
    assert picture.width > 4 * 192 and picture.height > 2 * 192  # four cells, one below
    first = (tmp_path / "p.png").read_bytes()
    run(tmp_path, perfect, "--questions", "easy_vqa", "--images", "5")
    assert (tmp_path / "p.png").read_bytes() == first
    run(tmp_path, perfect, "--questions", "easy_vqa", "--images", "5", "--seed", "1")
    assert (tmp_path / "p.png").read_bytes() != first


def test_chosen_ids(tmp_path, perfect):
    ids = tmp_path / "ids.json"
    ids.write_text(json.dumps([17, 4000, 4001]))
    given = ("--questions", "easy_vqa", "--ids", str(ids))
    result = run(tmp_path, perfect, *given)
    assert result.exit_code == 0 and result.stdout.endswith("right: 3 of 3\n"), result.output
    ids.write_text(ids.read_text(), encoding="utf-8-sig")
    assert run(tmp_path, perfect, *given).stdout == result.stdout
    for content, message in {
        "[99999]": "has the id 99999 of no question",
        "{}": "expected a JSON list of ids",
        "[[1]]": "expected a JSON list of ids",
        "[1": "expected a JSON list of ids",
        "[]": "expected a JSON list of ids, one at least",
        "[null]": "expected a JSON list of ids",
        "[true]": "expected a JSON list of ids",
    }.items():
        ids.write_text(content)
        result = run(tmp_path, perfect, *given)
        assert result.exit_code == 1 and message in result.output
    result = run(tmp_path, perfect, *given[:3], "gone.json")
    assert result.exit_code == 1 and "--ids gone.json: there is no such file" in result.output


def test_only_wrong(tmp_path, perfect):
    rows = [dict(row) for row in perfect]
    for row in (rows[17], rows[4000]):
        row["answer"] = "nothing"
    result = run(tmp_path, rows, "--questions", "easy_vqa", "--only", "wrong")
    assert result.exit_code == 0, result.output
    assert "2 images, 2 questions\nright: 0 of 2" in result.stdout
    result = run(tmp_path, perfect, "--questions", "easy_vqa", "--only", "wrong")
    assert result.exit_code == 1 and "no prediction is wrong" in result.output


def test_lots_are_of_images_then_of_their_questions():
    questions = questions_of(images=6, each=5)
    predictions = {question.question_id: "yes" for question in questions}
    cells = choose(questions, predictions, Only.all, images=4, per_image=2, seed=0)
    assert len({cell.image for cell in cells}) == 4
    assert all(len({a.question for a in cell.answered}) == 2 for cell in cells)
    assert cells == choose(questions, predictions, Only.all, images=4, per_image=2, seed=0)
    assert cells != choose(questions, predictions, Only.all, images=4, per_image=2, seed=1)
    # Questions without a prediction are left out.
    (cell,) = choose(questions, {7: "no"}, Only.all, images=4, per_image=2, seed=0)
    assert cell == Cell("1.png", (Answered("question 2?", "no", "yes", False),))


def test_any_answer_of_a_soft_label_is_right():
    question = Question(1, "Which?", "1.png", {"red": 0.3, "blue": 1.0})
    (cell,) = choose([question], {1: "red"}, Only.right, images=1, per_image=1, seed=0)
    assert cell.answered == (Answered("Which?", "red", "blue", True),)


def test_unlabelled_questions_are_drawn_without_marks(tmp_path):
    Image.new("RGB", (300, 90), "red").save(tmp_path / "wide.jpg")
    file = tmp_path / "questions.json"
    rows = [{"question_id": "q1", "sent": "Is it?", "img_id": str(tmp_path / "wide.jpg")}]
    file.write_text(json.dumps(rows))
    for predictions in (
        [{"question_id": "q1", "answer": "yes"}],
        [{"questionId": "q1", "prediction": "yes"}],
    ):
        result = run(tmp_path, predictions, "--questions", str(file))
        assert result.exit_code == 0, result.output
    assert "1 images, 1 questions" in result.stdout and "right" not in result.stdout
    result = run(tmp_path, predictions, "--questions", str(file), "--only", "right")
    assert result.exit_code == 1 and "'q1' is not known" in result.output


def test_images_lie_below_the_root(tmp_path):
    fixture = tmp_path / "vqa2"
    shutil.copytree(Path(__file__).parents[1] / "fixtures" / "vqa2", fixture)
    given = ("--questions", "vqa2", "--split", "minival", "--root", str(fixture))
    questions = json.loads((fixture / "minival.json").read_text())
    rows = [{"question_id": row["question_id"], "answer": "yes"} for row in questions]
    result = run(tmp_path, rows, *given)
    assert result.exit_code == 0, result.output
    assert "2 images, 4 questions" in result.stdout


def test_images_are_drawn_unchanged_and_marks_differ(tmp_path):
    path = tmp_path / "1.png"
    Image.new("RGB", (64, 64), (10, 200, 30)).save(path)

    def picture(right):
        return draw([Cell(str(path), (Answered("Is it?", "yes", "no", right),))])

    counts = {count: colour for count, colour in picture(True).getcolors(maxcolors=100000)}
    assert counts[192 * 192] == (10, 200, 30)
    assert len({picture(right).tobytes() for right in (True, False, None)}) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist; expected an image file"),
        (b"no image", "cannot be decoded"),
    ],
)
def test_bad_images_are_named(tmp_path, content, message):
    image, file = tmp_path / "1.png", tmp_path / "questions.json"
    if content is not None:
        image.write_bytes(content)
    file.write_text(json.dumps([{"question_id": 1, "question": "Is it?", "image": str(image)}]))
    result = run(tmp_path, [{"question_id": 1, "answer": "yes"}], "--questions", str(file))
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert re.match(f"error: Image {re.escape(str(image))} {message}", line)
    assert not (tmp_path / "p.png").exists()


@pytest.mark.parametrize(
    ("rows", "arguments", "message"),
    [
        ([{"question_id": 10**6, "answer": "no"}], (), "ids of no question: 1, such as .*1000000"),
        ([{"question_id": "3", "answer": "no"}], (), r"ids of the wrong type \(expected int\): 1"),
        ([{"question_id": 3, "answer": 1}], (), "answers that are not strings"),
        ([{"answer": "no"}], (), "rows without 'question_id'"),
        ([], (), "holds no predictions"),
        ({}, (), "expected a list of predictions"),
        ([], ("--questions", "none.json"), "no such file; expected a question file"),
        ([], ("--questions", "easy_vqa", "--split", "dev"), "no split 'dev'"),
        ([], ("--questions", "easy_vqa", "--output", "p.txt"), "expected a name ending in .png"),
        ([], ("--questions", "easy_vqa", "--output", "none/p.png"), "there is no folder none"),
    ],
)
def test_bad_arguments_are_one_line(tmp_path, rows, arguments, message):
    result = run(tmp_path, rows, *arguments)
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert re.match(f"error: .*{message}", line)


def test_missing_prediction_file(tmp_path):
    output = str(tmp_path / "p.png")
    arguments = ["show", "none.json", "--questions", "easy_vqa", "--output", output]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1
    assert (
        result.output == "error: Prediction file none.json does not exist; expected a JSON file\n"
    )


def test_starts_without_torch_and_mmf():
    program = (
        "import sys, clipvil_mmf.cli.show;"
        "print([m for m in ('torch', 'mmf', 'omegaconf') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout.strip() == "[]"


def test_draws_where_a_model_looked(tmp_path, imported):  # noqa: F811
    LANDSCAPE.save(tmp_path / "a.png")
    file = tmp_path / "questions.json"
    rows = [
        {"question_id": number, "question": text, "image": str(tmp_path / "a.png")}
        for number, text in enumerate(("Is it?", "What is it?"))
    ]
    file.write_text(json.dumps(rows))
    answers = [{"question_id": number, "answer": "answer 3"} for number in range(2)]
    given = ("--questions", str(file), "--explain", "relevance")
    result = run(tmp_path, answers, *given)
    assert result.exit_code == 1 and "--explain METHOD and --model MODEL belong" in result.output
    result = run(tmp_path, answers, *given, "--model", str(imported))
    assert result.exit_code == 0, result.output
    assert "1 images, 2 questions" in result.stdout
    assert Image.open(tmp_path / "p.png").width > 2 * 192  # a picture for each question
    result = run(tmp_path, [{**answers[0], "answer": "x"}], *given, "--model", str(imported))
    assert result.exit_code == 1 and "'x' is not among the 13 answers" in result.output
