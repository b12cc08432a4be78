"""`clipvil score`, `check-submission` and `show` on SNLI-VE and NLVR2; numbers worked by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from clipvil_mmf.cli.main import app
from tests.fixtures.make import lxmert_nlvr2, write_uniter

FIXTURES = Path(__file__).parents[1] / "fixtures"
VE, NLVR2 = FIXTURES / "snli_ve" / "snli_ve_dev.jsonl", FIXTURES / "nlvr2" / "dev.json"


def run(*arguments: object):
    return CliRunner(env={"COLUMNS": "200"}).invoke(app, [*map(str, arguments)])


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def scores(file: Path, questions: Path) -> dict:
    done = run("score", file, "--questions", questions, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Of each class's four pairs of SNLI-VE: 4, 3 and 1 right."""
    right = {"contradiction": 4, "entailment": 3, "neutral": 1}
    rows = []
    for row in rows_of(VE):
        label = row["gold_label"]
        right[label] -= 1
        wrong = next(name for name in right if name != label)
        rows.append({"id": row["pairID"], "label": label if right[label] >= 0 else wrong})
    (tmp_path / "ve.json").write_text(json.dumps(rows))
    return tmp_path / "ve.json"


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """NLVR2's official file: all right but one."""
    lines = [f"{row['identifier']},{row['label']}\n" for row in rows_of(NLVR2)]
    identifier, label = lines[3].strip().split(",")
    lines[3] = f"{identifier},{'False' if label == 'True' else 'True'}\n"
    (tmp_path / "nlvr2.csv").write_text("".join(lines))
    return tmp_path / "nlvr2.csv"


def test_accuracy_by_label(classes: Path, tmp_path: Path) -> None:
    write_uniter(tmp_path / "ve_dev.db", rows_of(VE))
    for questions in (VE, tmp_path / "ve_dev.db" / "data.mdb"):
        found = scores(classes, questions)
        assert found["rule"] == "accuracy, one class each"
        assert found["overall"] == {"accuracy": 66.67, "questions": 12}
        assert found["groups"]["label"] == {
            "contradiction": {"accuracy": 100.0, "questions": 4},
            "entailment": {"accuracy": 75.0, "questions": 4},
            "neutral": {"accuracy": 25.0, "questions": 4},
        }
        assert "consistency" not in found


def test_consistency_is_of_sentences(pairs: Path, tmp_path: Path) -> None:
    """Two sets with two sentences about two pairs each: one of the four is wrong for a pair."""
    (tmp_path / "valid.json").write_text(json.dumps(lxmert_nlvr2("valid", rows_of(NLVR2))))
    for questions in (NLVR2, tmp_path / "valid.json"):
        found = scores(pairs, questions)
        assert found["overall"] == {"accuracy": 87.5, "questions": 8}
        assert found["consistency"] == {"percent": 75.0, "sentences": 4}
    shown = run("score", pairs, "--questions", NLVR2).stdout
    assert "consistency: sentences right for all images │      75.00 │         4 │" in shown


def test_a_missing_pair_is_wrong_and_its_sentence_inconsistent(pairs: Path) -> None:
    pairs.write_text("".join(pairs.read_text().splitlines(keepends=True)[1:]))
    found = scores(pairs, NLVR2)
    assert (found["missing"], found["overall"]["accuracy"]) == (1, 75.0)
    assert found["consistency"]["percent"] == 50.0


def test_the_official_csv_is_checked(pairs: Path) -> None:
    done = run("check-submission", pairs, "--questions", NLVR2)
    assert done.exit_code == 0, done.output
    assert "nlvr2 prediction file" in done.output and "complete and in order" in done.output
    assert "accuracy: 0.8750" in done.output
    lines = pairs.read_text().splitlines()
    pairs.write_text("\n".join(["identifier,prediction", *lines[1:], lines[1], "dev-10-1-0"]))
    done = run("check-submission", pairs, "--questions", NLVR2)
    assert done.exit_code == 1
    assert "ids of no question: 1\n  row 0: 'identifier'" in done.output
    assert "rows without 'prediction': 1" in done.output
    assert "questions answered more than once: 2" in done.output
    assert "questions without an answer: 1" in done.output


def test_files_of_snli_ve_are_checked(classes: Path) -> None:
    done = run("check-submission", classes, "--questions", VE)
    assert done.exit_code == 0 and "snli_ve prediction file" in done.output


def test_pictures_of_pairs(pairs: Path, tmp_path: Path) -> None:
    options = ("--questions", NLVR2, "--root", NLVR2.parent / "images", "--images", "3")
    done = run("show", pairs, *options, "--output", tmp_path / "p.png")
    assert done.exit_code == 0, done.output
    assert "3 images, 6 questions" in done.output
    assert Image.open(tmp_path / "p.png").width > 3 * 192
