"""A format of one's own: one file, one line in ``FORMATS``, and everything reads it."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from clipvil_mmf.cli.main import app
from clipvil_mmf.data.custom import CustomBuilder
from clipvil_mmf.data.files import FilesParams
from clipvil_mmf.data.formats import FORMATS, read_table
from clipvil_mmf.data.formats.json_stream import Progress, QuestionFile
from clipvil_mmf.data.questions import AnnotationError, Question
from clipvil_mmf.data.table import QuestionTable, TableBuilder


class Csv:
    """Lines ``number,picture,question,answer``; a file without answers leaves the last one out."""

    def recognises(self, file: QuestionFile) -> bool:
        return file.path.suffix == ".csv"

    def read(self, files: Sequence[Path], progress: Progress) -> QuestionTable:
        (path,) = files
        builder = TableBuilder("my CSV", str(path))
        with path.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                answers = {row["answer"]: 1.0} if "answer" in row else None
                builder.add(int(row["number"]), row["question"], row["picture"], answers)
        return builder.build()


@pytest.fixture
def registered(monkeypatch):
    monkeypatch.setitem(FORMATS, "my CSV", Csv())


@pytest.fixture
def data(tmp_path):
    (tmp_path / "train.csv").write_text(
        "number,picture,question,answer\n7,a.jpg,what is it?,dog\n8,b.jpg,and this?,cat\n"
    )
    (tmp_path / "test.csv").write_text("number,picture,question\n7,a.jpg,what is it?\n")
    return tmp_path


def clipvil(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_training_reads_it(registered, data):
    splits = {"train": "train.csv", "test": "test.csv"}
    params = FilesParams(data_dir=str(data), annotations=splits)
    builder = CustomBuilder()
    train, test = (builder.table(params, split) for split in splits)
    assert train.formats == ["my CSV"]
    assert train[1] == Question(8, "and this?", "b.jpg", {"cat": 1.0})
    assert builder.labels(params) == ["cat", "dog"]
    assert not test.is_labelled
    assert len(list((data / "stores").glob("*/*.arrow"))) == 2


def test_the_commands_read_it(registered, data):
    predictions = data / "p.json"
    rows = [{"question_id": 7, "answer": "dog"}, {"question_id": 8, "answer": "dog"}]
    predictions.write_text(json.dumps(rows))
    result = clipvil("score", predictions, "--questions", data / "train.csv", "--json")
    assert json.loads(result.stdout)["overall"] == {"accuracy": 50.0, "questions": 2}
    result = clipvil("check-submission", predictions, "--questions", data / "train.csv")
    assert result.exit_code == 0 and "accuracy: 0.5000" in result.stdout
    predictions.write_text(json.dumps(rows[:1]))
    result = clipvil("check-submission", predictions, "--questions", data / "test.csv")
    assert result.exit_code == 0 and "accuracy" not in result.stdout


def test_one_that_came_later_is_asked_first(registered, tmp_path, monkeypatch):
    """Of the same JSON files as another one, too; and one that looks at JSON bothers no other."""
    read = SimpleNamespace(
        recognises=lambda file: any("frage" in row for _, row in file.elements),
        read=lambda files, _: QuestionTable.from_questions([Question(1, "?", "a")], "mine"),
    )
    monkeypatch.setitem(FORMATS, "mine", read)
    file = tmp_path / "q.json"
    file.write_text('[{"frage": "?"}]')
    assert read_table([file]).source == "mine"
    (tmp_path / "q.csv").write_text("number,picture,question\n7,a.jpg,what?\n")
    assert read_table([tmp_path / "q.csv"]).formats == ["my CSV"]


def test_an_unknown_kind_of_file_is_an_error(data):
    with pytest.raises(AnnotationError, match=r"train\.csv is not valid JSON"):
        read_table([data / "train.csv"])
