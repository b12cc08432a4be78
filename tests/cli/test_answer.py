"""`clipvil answer`: one image, a folder, a file of questions; and `clipvil --version`."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

import clipvil_mmf
from clipvil_mmf.cli.main import app
from clipvil_mmf.cli.models import METHODS_IN_WORDS
from clipvil_mmf.explaining import METHODS
from clipvil_mmf.hub import Answerer
from clipvil_mmf.inference import question_files
from mmf_bridge.common import progress
from tests.bridge.runs import ROOT
from tests.checkpoints.conftest import publish  # noqa: F401 (a fixture)
from tests.deploying.models import small_model
from tests.test_hub import LANDSCAPE, PORTRAIT, imported, model  # noqa: F401 (fixtures)


def run(*arguments: object):
    return CliRunner().invoke(app, ["answer", *map(str, arguments)])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    LANDSCAPE.save(folder / "a.png")
    PORTRAIT.save(folder / "more" / "b.JPG")
    (folder / "notes.txt").write_text("no image")
    return folder


def lines(result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_one_image(model: Answerer, imported: Path, photos: Path) -> None:  # noqa: F811
    questions = ("is it red?", "what is it?")
    result = run(imported, photos / "a.png", *questions, "--top-k", 2)
    assert result.exit_code == 0, result.output
    expected = model.answer(photos / "a.png", questions, top_k=2)
    for line, question, best in zip(result.stdout.splitlines(), questions, expected, strict=True):
        answers = ", ".join(f"{label} ({100 * score:.0f}%)" for label, score in best)
        assert line == f"{question} {answers}"
    (first, _) = lines(run(imported, photos / "a.png", *questions, "--json"))
    assert first == {
        "image": str(photos / "a.png"),
        "question": "is it red?",
        "answer": expected[0][0][0],
        "confidence": pytest.approx(expected[0][0][1], abs=1e-5),
    }


def test_a_folder(imported: Path, photos: Path, tmp_path: Path) -> None:  # noqa: F811
    file = tmp_path / "new" / "found.csv"
    result = run(imported, photos, "is it red?", "--output", file)
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{file}: 2 answers\n"
    with file.open(newline="") as rows_of:
        rows = list(csv.DictReader(rows_of))
    assert [row["image"] for row in rows] == ["a.png", "more/b.JPG"]
    assert list(rows[0]) == ["image", "question", "answer", "confidence"]
    assert run(imported, photos).exit_code == 1


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json"])
def test_a_file_of_questions(imported, model, photos, tmp_path, kind) -> None:  # noqa: F811
    """The rows' other fields are kept; the images lie beside the file, or in a folder."""
    rows = [
        {"id": "7", "image": "a.png", "question": "is it,\nor not?"},
        {"id": "8", "image": str(photos / "more" / "b.JPG"), "question": 'a "dog"?'},
    ]
    file = photos / f"asked.{kind}"
    if kind == "json":
        file.write_text(json.dumps(rows))
    elif kind == "jsonl":
        file.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    else:
        with file.open("w", newline="", encoding="utf-8-sig") as opened:
            writer = csv.DictWriter(opened, rows[0], delimiter="," if kind == "csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    result = run(imported, file, "--json", "--top-k", 3)
    assert result.exit_code == 0, result.output
    for row, found in zip(rows, lines(result), strict=True):
        best = model.answer(photos / row["image"], row["question"], top_k=3)
        assert {name: found[name] for name in row} == row
        assert found["answer"] == best[0][0]
        assert [label for label, _ in found["top_answers"]] == [label for label, _ in best]
    moved = tmp_path / file.name
    file.rename(moved)
    assert run(imported, moved, "--json").exit_code == 1
    assert lines(run(imported, moved, "--json", "--images", photos)) == [
        {name: value for name, value in row.items() if name != "top_answers"}
        for row in lines(result)
    ]


def test_one_question_about_the_images_of_a_file(imported, photos) -> None:  # noqa: F811
    (photos / "asked.csv").write_text("image\na.png\nmore/b.JPG\n")
    found = lines(run(imported, photos / "asked.csv", "is it?", "what?", "--json"))
    assert [row["question"] for row in found] == ["is it?", "what?"] * 2


def test_a_bad_image_costs_its_own_answers_alone(imported, photos, tmp_path) -> None:  # noqa: F811
    (photos / "c.png").write_bytes(b"no image")
    result = run(imported, photos, "what?", "--output", tmp_path / "found.jsonl")
    assert result.exit_code == 1
    assert re.search(r"1 of 3 questions have no answer.*c\.png cannot be decoded", result.stderr)
    rows = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    assert ["error" in row for row in rows] == [False, True, False]
    printed = run(imported, photos, "what?")
    assert len(printed.stdout.splitlines()) == 2 and "c.png cannot be decoded" in printed.stderr


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.csv",
            "picture,question\na.png,what?\n",
            r"its columns are picture, question; expected",
        ),
        ("a.csv", "", r"its columns are none"),
        ("a.csv", "image,question\n", r"has no rows"),
        ("a.csv", "image,question\na.png\n", r"row 1: expected 2 columns"),
        ("a.csv", 'image,question\na.png,"what\n', r"is not CSV"),
        ("a.csv", "image,question\na.png,\n", r"row 1: question: got '', expected a text"),
        ("a.csv", "image,question,answer\na.png,b,c\n", r"row 1: has 'answer', which is written"),
        ("a.jsonl", '{"image": 3, "question": "?"}', r"row 1: image: got 3, expected a path"),
        ("a.jsonl", '{"image": "a.png"', r"is not valid JSON"),
        ("a.jsonl", '["a.png"]', r"row 1: got \['a.png'\]"),
        ("a.json", '{"image": "a.png"}', r"holds a JSON dict"),
        ("a.csv", "image,image,question\na,b,c\n", r"two of its columns are named 'image'"),
        ("a.json", '[{"image": [["a"]], "question": "?"}]', r"row 1: image: got \[\['a'\]\]"),
        ("a.json", '[{"image": "a\\u0000", "question": "?"}]', r"row 1: image: got 'a\\x00'"),
        ("a.json", '[{"image": "a", "question": "a\\ud800"}]', r"row 1: it has .*half of a char"),
        ("a.jsonl", '{"image": "a", "question": "?", "n": "\\udc00"}', r"row 1: it has .*half of"),
        ("a.csv", b"\xff\xfei\0", r"UTF-16"),
        ("a.csv", b"image,question\n\xff,a\n", r"cannot be read"),
        ("gone.csv", None, r"gone\.csv does not exist; expected"),
    ],
)
def test_damaged_files_are_named_before_the_model_is_read(tmp_path, name, content, message) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    result = run(tmp_path / "no-model", tmp_path / name)
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert re.search(f"^error: .*{message}", line), line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.png"], "a.png: give a question about it"),
        (["a.png", "?", "--output", "a.txt"], "expected a name ending in .csv, .json, .jsonl"),
        (["a.png", "?", "--output", "a.json"], "no-model: no such file or folder"),
        (["a.png", "?", "--output", f"{__file__}/a/b.json"], "test_answer.py is a file; expected"),
        (["a.png", "?", "--dtype", "int8"], "dtype: got 'int8'"),
        (["a.png", "?", "--device", "gpu"], "device: got 'gpu'"),
    ],
)
def test_bad_arguments_are_one_line(arguments, message) -> None:
    result = run("no-model", *arguments)
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert line.startswith("error: ") and message in line


def test_names_that_are_not_utf_8(imported, photos, tmp_path) -> None:  # noqa: F811
    odd = os.fsdecode(b"\xff.png")
    LANDSCAPE.save(photos / odd)
    (photos / "folder.png").mkdir()  # an image by its name alone
    results = [tmp_path / f"results.{kind}" for kind in ("json", "csv")]
    for result in results:
        done = run(imported, photos, "what?", "--output", result)
        assert done.exit_code == 0, done.output
    assert [row["image"] for row in json.loads(results[0].read_text())] == [
        "a.png",
        "more/b.JPG",
        odd,
    ]
    assert r"\udcff.png" in results[1].read_text()
    done = run(imported, photos, "what?")
    assert done.exit_code == 0 and r"\udcff.png" in done.stdout
    done = run(imported, photos, os.fsdecode(b"what \xff?"))
    assert done.exit_code == 1 and "question: got 'what \\udcff?', expected Unicode" in done.stderr


def test_images_without_a_question(monkeypatch) -> None:
    """Of a task with two, the text behind the first image is taken for the second one."""
    monkeypatch.setattr("clipvil_mmf.from_pretrained", lambda *_: small_model("pair"))
    done = CliRunner().invoke(app, ["answer", "model", "photo.jpg", "red?"])
    assert done.exit_code == 1 and "a question is about 2 images" in done.output


def test_results_are_not_written_over_others(imported, photos, tmp_path) -> None:  # noqa: F811
    (tmp_path / "found.json").write_text("[]")
    result = run(imported, photos, "what?", "--output", tmp_path / "found.json")
    assert result.exit_code == 1 and "exists: remove it" in result.output
    (tmp_path / "found.json").unlink()
    assert run(imported, photos, "what?", "--output", tmp_path / "found.json").exit_code == 0
    assert len(json.loads((tmp_path / "found.json").read_text())) == 2


def test_a_line_now_and_then_without_a_terminal(
    imported,  # noqa: F811
    photos,
    tmp_path,
    monkeypatch,
) -> None:
    said: list[str] = []
    monkeypatch.setattr(progress, "SILENCE", -1)
    monkeypatch.setattr(progress, "say", said.append)
    run(imported, photos, "what?", "who?", "--output", tmp_path / "found.json")
    assert len(said) == 4 and re.fullmatch(r"answering 2/4 questions eta \d+:\d\d", said[1])
    said.clear()
    assert run(imported, photos / "a.png", "what?").exit_code == 0 and not said


@pytest.mark.parametrize("name", ["found.csv", "found.jsonl", "found.json"])
def test_what_was_answered_before_an_interruption_is_kept(
    imported,  # noqa: F811
    photos,
    tmp_path,
    monkeypatch,
    name,
) -> None:
    stock, ends = Answerer.stream, []

    def stream(self, *args, **kwargs):
        found = stock(self, *args, **kwargs)
        yield next(found)
        if ends:
            raise KeyboardInterrupt
        yield from found

    monkeypatch.setattr(Answerer, "stream", stream)
    output, partial = tmp_path / name, tmp_path / f"{name}.partial.jsonl"
    ends.append(True)
    result = run(imported, photos, "what?", "--output", output)
    assert result.exit_code and f"{partial}: the 1 rows until here" in result.stderr
    (row,) = map(json.loads, partial.read_text().splitlines())
    assert row["image"] == "a.png" and row["answer"] and not output.exists()
    result = run(imported, photos, "what?", "--output", output)
    assert (
        result.exit_code == 1
        and "not come to its end: wait for it, remove or rename" in result.stderr
    )
    ends.clear()
    partial.unlink()
    assert run(imported, photos, "what?", "--output", output).exit_code == 0
    assert output.exists() and not partial.exists()


def test_another_command_of_the_same_output_has_begun_meanwhile(
    imported: Path,  # noqa: F811
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """It keeps its rows; the second one ends before it answers anything."""
    stock, other = clipvil_mmf.from_pretrained, tmp_path / "found.json.partial.jsonl"

    def from_pretrained(*args, **kwargs):
        other.write_text("{}\n")
        return stock(*args, **kwargs)

    monkeypatch.setattr(clipvil_mmf, "from_pretrained", from_pretrained)
    result = run(imported, photos, "what?", "--output", tmp_path / "found.json")
    assert (
        result.exit_code == 1 and f"{other} exists, the answers of a command that" in result.stderr
    )
    assert other.read_text() == "{}\n" and not (tmp_path / "found.json").exists()


@pytest.mark.parametrize("option", ["--output", "--explain"])
def test_a_full_disk_is_named_and_nothing_half_written_is_left(
    imported: Path,  # noqa: F811
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    option: str,
) -> None:
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    target = tmp_path / ("found.json" if option == "--output" else "maps")
    monkeypatch.setattr(question_files, "whole_file", full)
    monkeypatch.setattr(Image.Image, "save", full)
    result = run(imported, photos, "what?", option, target)
    assert result.exit_code == 1
    file = target if option == "--output" else target / "1.png"
    expected = f"error: {file} could not be written: No space left on device. Free some disk space"
    assert expected in result.stderr
    assert not [path for path in tmp_path.rglob("*") if path.name in (file.name, ".partial-")]
    monkeypatch.setattr(Path, "mkdir", full)
    result = run(imported, photos, "what?", option, tmp_path / "new" / target.name)
    assert result.exit_code == 1
    assert "could not be written: No space left on device. Free some disk space" in result.stderr


def test_the_help_names_the_methods_of_maps() -> None:
    assert METHODS_IN_WORDS.replace(" or ", ", ").split(", ") == list(METHODS)


def test_version() -> None:
    done = CliRunner().invoke(app, ["--version"])
    assert done.stdout == f"clipvil-mmf {clipvil_mmf.__version__}\n" and done.exit_code == 0
    built = subprocess.run(
        [sys.executable, "setup.py", "--version"], cwd=ROOT, capture_output=True, text=True
    )
    assert built.stdout.splitlines()[-1] == clipvil_mmf.__version__


def test_maps_of_answers(imported: Path, photos: Path, tmp_path: Path) -> None:  # noqa: F811
    bad = photos / "bad.png"
    bad.write_bytes(b"no image")
    folder = tmp_path / "maps"
    result = run(imported, photos, "is it red?", "--explain", folder, "--method", "rollout")
    assert result.exit_code == 1 and "bad.png cannot be decoded" in result.output
    sizes = {file.name: Image.open(file).size for file in folder.iterdir()}
    assert sizes == {"1.png": LANDSCAPE.size, "3.png": PORTRAIT.size}
    assert result.stdout.endswith(f"{folder}: 2 maps\n")
    result = run(imported, photos / "a.png", "is it red?", "--explain", folder)
    assert result.exit_code == 1 and f"--explain {folder} exists: remove it" in result.output
    result = run(imported, photos / "a.png", "?", "--explain", tmp_path / "o", "--method", "roll")
    assert result.exit_code == 1 and "unknown method 'roll'" in result.output
    assert not (tmp_path / "o").exists()
