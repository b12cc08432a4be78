"""`clipvil prepare` on small files in the official formats."""

from __future__ import annotations

import json
import logging
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clipvil_mmf.cli.main import app
from clipvil_mmf.data.catalogue import CATALOGUES, VQA2, store_folder
from clipvil_mmf.data.label_vocabulary import build_labels
from clipvil_mmf.data.questions import Question
from clipvil_mmf.data.table import QuestionTable, open_part
from tests.fixtures.make import lxmert_nlvr2, write_uniter

ROOT = Path(__file__).parents[2]
SPLITS = ("train", "nominival", "minival", "test")


@pytest.fixture(params=["vqa2", "gqa"])
def either(request, tmp_path):
    shutil.copytree(ROOT / "tests" / "fixtures" / request.param, tmp_path / request.param)
    return request.param, tmp_path / request.param


@pytest.fixture
def vqa2(tmp_path):
    shutil.copytree(ROOT / "tests" / "fixtures" / "vqa2", tmp_path / "vqa2")
    return tmp_path / "vqa2"


def run(dataset, root, *arguments):
    given = ["prepare", dataset, "--root", str(root), *map(str, arguments)]
    return CliRunner(env={"COLUMNS": "240"}).invoke(app, given)


def part(dataset, root, *arguments):
    """Prepare what is a part of the data."""
    return run(dataset, root, "--allow-other-counts", *arguments)


def store_of(root, split):
    """The store of a split; None if there is none."""
    found = store_folder(root, split)
    (store,) = list(found.parent.glob(f"{found.name}-*")) or [None]
    return store


def open_store(store):
    (file,) = store.glob("*.arrow")
    return QuestionTable([open_part(file)])


def cells(result):
    """Rows of the tables."""
    lines = [line for line in result.stdout.splitlines() if line.startswith("│")]
    return [tuple(cell.strip() for cell in line.strip("│").split("│")) for line in lines]


def failure(result):
    assert result.exit_code == 1, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return line


def test_splits_are_converted_once(either, monkeypatch):
    monkeypatch.setattr("mmf_bridge.common.progress.SILENCE", -1.0)
    monkeypatch.setattr(logging.getLogger("mmf_bridge.console"), "handlers", [])
    dataset, root = either
    result = part(dataset, root)
    assert result.exit_code == 0, result.output
    ready = [row for row in cells(result) if len(row) == 6]
    splits = SPLITS if dataset == "vqa2" else ("train", "val", "testdev")
    assert [row[0] for row in ready] == list(splits)
    assert {row[4] for row in ready} == {"converted"}
    for name in splits:
        table = open_store(store_of(root, name))
        assert len(table) and table.is_labelled == (name != "test")
    lines = result.stdout.splitlines()
    published = root / "trainval_label2ans.json"
    assert f"answers: {len(json.loads(published.read_text()))} in {published}" in lines
    assert lines[-1].startswith(f"next: mmf_run config=projects/clipvil/configs/{dataset}.yaml")
    assert f"dataset_config.{dataset}.data_dir={root}" in lines[-1]

    again = part(dataset, root)
    assert {row[4] for row in cells(again) if len(row) == 6} == {"kept"}
    # A conversion says how far it is, the second time there is none; nothing half-made is left.
    assert "converting" in result.stderr and "converting" not in again.stderr
    assert not [path for path in root.rglob("*") if "partial" in path.name]


def test_known_sizes_are_compared(vqa2):
    line = failure(run("vqa2", vqa2))
    assert "train2014_questions.json has 56 questions; expected 443,757." in line
    assert "--allow-other-counts" in line
    # The split that was converted before is looked at again, not taken for good.
    assert failure(run("vqa2", vqa2)) == line


def test_missing_files_and_where_they_are(vqa2):
    (vqa2 / "minival.json").unlink()
    shutil.rmtree(vqa2 / "test2015")
    result = part("vqa2", vqa2)
    line = failure(result)
    assert f"missing in {vqa2}: minival.json (or imdb_minival2014.npy), test2015/" in line
    # Without LXMERT's files, the official splits are left.
    assert "--splits train,val,test,test-dev" in line
    assert "https://nlp.cs.unc.edu/data/lxmert_data/vqa/minival.json" in result.stdout.splitlines()
    rows = {row[1]: row for row in cells(result)}
    assert rows["test2015/"][2:] == ("missing", "http://images.cocodataset.org/zips/test2015.zip")
    minival = rows["minival.json (or imdb_minival2014.npy)"]
    assert minival[2:] == ("missing", "https://nlp.cs.unc.edu/data/lxmert_data/vqa/minival.json")
    assert rows["nominival.json"][2:] == ("found", str(vqa2 / "nominival.json"))
    assert not (vqa2 / "stores").exists()


def test_splits_can_be_named(vqa2):
    result = part("vqa2", vqa2, "--splits", "train2014, minival")
    assert [row[0] for row in cells(result) if len(row) == 6] == ["train", "minival"]


@pytest.mark.parametrize(
    ("dataset", "splits", "program", "named"),
    [
        ("vqa2", "train,nominival,minival,test", "mmf_run", {}),
        ("vqa2", "train,val,test", "mmf_run", {"train": "train", "val": "val"}),
        ("vqa2", "train,val,test-dev", "mmf_run", dict(train="train", val="val", test="test-dev")),
        # nominival is a part of val, on which nothing may train then.
        ("vqa2", "train,nominival,val,test", "mmf_run", {"train": "train", "val": "val"}),
        ("vqa2", "train,minival", "mmf_run", {"train": "train", "test": "null"}),
        ("vqa2", "train", "mmf_run", {"train": "train", "val": "null", "test": "null"}),
        ("vqa2", "minival", "mmf_predict", {"train": "null", "test": "minival"}),
        ("vqa2", "test", "mmf_predict", {"train": "null", "val": "null"}),
        ("gqa", "train,valid,testdev,submission", "mmf_run", {}),
        ("gqa", "train,val,testdev", "mmf_run", {"test": "null"}),
        ("gqa", "train,val,submission", "mmf_run", {"train": "train", "val": "val"}),
    ],
)
def test_the_next_command_names_the_splits(tmp_path, dataset, splits, program, named):
    root = tmp_path / "of mine"
    shutil.copytree(ROOT / "tests" / "fixtures" / dataset, root)
    result = part(dataset, root, "--splits", splits, "--no-image-check")
    assert result.exit_code == 0, result.output
    begun, command, *given = shlex.split(result.stdout.splitlines()[-1])
    assert (begun, command) == ("next:", program)
    section = f"dataset_config.{dataset}.annotations."
    found = dict(option.split("=") for option in given)
    assert {k.removeprefix(section): v for k, v in found.items() if section in k} == named
    assert ("checkpoint.resume" in found) == (program == "mmf_predict")
    assert found[f"dataset_config.{dataset}.data_dir"] == str(root)


def test_images_are_checked(vqa2):
    image = next((vqa2 / "train2014").iterdir())
    image.write_bytes(image.read_bytes()[:10])
    line = failure(part("vqa2", vqa2, "--splits", "train"))
    assert re.search(rf"1 of \d+ images are missing or damaged, such as {image}\.", line)
    assert "http://images.cocodataset.org/zips/train2014.zip" in line
    assert "--no-image-check" in line
    assert part("vqa2", vqa2, "--splits", "train", "--no-image-check").exit_code == 0
    shutil.rmtree(vqa2 / "train2014")
    assert "--no-image-check" in failure(part("vqa2", vqa2, "--splits", "train"))
    assert part("vqa2", vqa2, "--splits", "train", "--no-image-check").exit_code == 0


def test_a_vocabulary_of_ones_own(vqa2):
    result = part("vqa2", vqa2, "--min-count", "3")
    path = vqa2 / "answers_min3.json"
    made = json.loads(path.read_text())
    assert f"answers: {len(made)} in {path}" in result.stdout
    assert f"processors.answer_processor.params.vocab={path}" in result.stdout
    assert "none of the" in failure(part("vqa2", vqa2, "--min-count", "1000"))


def test_which_answers_a_vocabulary_has():
    """The main answer of each question counts, however many others it has."""

    def table(*answers):
        questions = [
            Question(i, "?", "0.jpg", label) for i, label in enumerate(answers, start=len(answers))
        ]
        return QuestionTable.from_questions(questions, "test")

    one = table({"red": 1.0, "blue": 0.3}, {"red": 0.9}, {"blue": 1.0}, {})
    two = table({"red": 1.0}, {"green": 0.3, "blue": 0.6}, {"yellow": 0.6})
    assert build_labels([one, two], 2) == ["red", "blue"]  # 3 and 2 times
    assert build_labels([one, two], 1) == ["red", "blue", "yellow"]


def test_without_a_published_vocabulary_one_is_made(vqa2):
    (vqa2 / "trainval_label2ans.json").unlink()
    result = part("vqa2", vqa2)
    assert f"in {vqa2}/answers_min{VQA2.min_count}.json" in result.stdout
    counts = Counter()
    for name in SPLITS[:-1]:
        table = open_store(store_of(vqa2, name))
        counts.update(next(iter(table[row].answers)) for row in range(len(table)))
    made = json.loads((vqa2 / "answers_min9.json").read_text())
    assert set(made) == {answer for answer, count in counts.items() if count >= 9} != set()
    line = failure(part("vqa2", vqa2, "--splits", "test"))
    assert "no answer vocabulary" in line and "trainval_label2ans.json" in line


def test_where_none_is_published_it_has_the_training_answers_alone(tmp_path):
    shutil.copytree(ROOT / "tests" / "fixtures" / "okvqa", tmp_path / "okvqa")
    result = part("okvqa", tmp_path / "okvqa")
    path = tmp_path / "okvqa" / "answers_min2.json"
    assert f"processors.answer_processor.params.vocab={path}" in result.stdout
    train = open_store(store_of(tmp_path / "okvqa", "train"))
    made = json.loads(path.read_text())
    assert made == build_labels([train], 2)
    assert made != build_labels([train, open_store(store_of(tmp_path / "okvqa", "val"))], 2)
    line = failure(part("okvqa", tmp_path / "okvqa", "--splits", "val"))
    assert "no prepared split has one to train on; add a split to train on, or name a list" in line


KILLED = """
import os, signal, sys
from clipvil_mmf.data import store
stock = store._write_table
def write(path, table):
    if "nominival" in str(path):
        stock(path, table)
        os.kill(os.getpid(), signal.SIGKILL)
    stock(path, table)
store._write_table = write
from clipvil_mmf.cli.main import app
app(sys.argv[1:])
"""


def test_after_a_kill_it_goes_on(vqa2):
    arguments = ["prepare", "vqa2", "--root", str(vqa2), "--allow-other-counts"]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments], cwd=ROOT, capture_output=True, text=True
    )
    assert killed.returncode == -signal.SIGKILL
    assert store_of(vqa2, "train") and not store_of(vqa2, "nominival")
    result = part("vqa2", vqa2)
    assert result.exit_code == 0, result.output
    states = [row[4] for row in cells(result) if len(row) == 6]
    assert states == ["kept", "converted", "converted", "converted"]
    assert not [path for path in (vqa2 / "stores").iterdir() if "partial" in path.name]


def test_ctrl_c(vqa2, monkeypatch):
    from clipvil_mmf.data import store

    stock = store.read_table

    def stop(files, progress):
        if "minival" in files[0].name:
            raise KeyboardInterrupt
        return stock(files, progress)

    monkeypatch.setattr(store, "read_table", stop)
    result = part("vqa2", vqa2, "--splits", "train,minival")
    assert result.exit_code == 130
    assert "stopped. What is done is kept" in result.stderr
    assert store_of(vqa2, "train") and not store_of(vqa2, "minival")


def test_changed_files_are_converted_anew(vqa2):
    part("vqa2", vqa2, "--splits", "minival")
    file = vqa2 / "minival.json"
    file.write_text(json.dumps(json.loads(file.read_text())[:10]))
    result = part("vqa2", vqa2, "--splits", "minival")
    (row,) = [row for row in cells(result) if len(row) == 6]
    assert row[2] == "10" and row[4] == "converted"


def test_bad_options(vqa2, tmp_path):
    unknown = f"no dataset 'vqa'; expected one of {', '.join(CATALOGUES)}. Did you mean 'vqa2'?"
    assert unknown in failure(run("vqa", vqa2))
    assert "no such folder" in failure(run("vqa2", tmp_path / "nowhere"))
    assert "no split 'dev'" in failure(run("vqa2", vqa2, "--splits", "train,dev"))
    assert "--splits: names none" in failure(run("vqa2", vqa2, "--splits", ","))
    both = ("--answers", vqa2 / "trainval_label2ans.json", "--min-count", "2")
    assert "expected one of them" in failure(part("vqa2", vqa2, *both))
    wrong = ("--answers", vqa2 / "trainval_ans2label.json")
    assert "(not ans2label)" in failure(part("vqa2", vqa2, *wrong))
    (vqa2 / "minival.json").write_text("[{")
    assert "minival.json is not valid JSON" in failure(part("vqa2", vqa2, "--splits", "minival"))


def lxmert_layout(root):
    """NLVR2 as LXMERT's code has it: its conversion, and all images in one folder."""
    for split, name in (("train", "train"), ("dev", "valid"), ("test1", "test")):
        lines = (root / f"{split}.json").read_text().splitlines()
        (root / f"{split}.json").unlink()
        rows = lxmert_nlvr2(name, [json.loads(line) for line in lines])
        (root / f"{name}.json").write_text(json.dumps(rows))
    for image in list((root / "images").rglob("*.png")):
        image.rename(root / "images" / image.name)


def uniter_layout(root):
    """SNLI-VE as UNITER's."""
    for file in list(root.glob("*.jsonl")):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        name = file.stem.removeprefix("snli_")
        write_uniter(root / "txt_db" / f"{name}.db", [r for r in rows if r["gold_label"] != "-"])
        file.unlink()


@pytest.mark.parametrize(
    ("dataset", "change", "format", "counts"),
    [
        ("snli_ve", None, "SNLI-VE jsonl", [24, 12, 12]),
        ("snli_ve", uniter_layout, "UNITER text database of SNLI-VE", [24, 12, 12]),
        ("nlvr2", None, "official NLVR2 JSON lines", [18, 8, 8]),
        ("nlvr2", lxmert_layout, "LXMERT NLVR2 JSON", [18, 8, 8]),
    ],
)
def test_classes_need_no_vocabulary(tmp_path, dataset, change, format, counts):
    root = tmp_path / dataset
    shutil.copytree(ROOT / "tests" / "fixtures" / dataset, root)
    if change:
        change(root)
    result = part(dataset, root)
    assert result.exit_code == 0, result.output
    ready = [row for row in cells(result) if len(row) == 6]
    assert [row[1] for row in ready] == [format] * 3
    assert [int(row[2]) for row in ready] == counts
    last = result.stdout.splitlines()[-1]
    assert last == (
        f"next: mmf_run config=projects/clipvil/configs/{dataset}.yaml "
        f"dataset_config.{dataset}.data_dir={root}"
    )
    assert "answers:" not in result.stdout
    dropped = "train: 1 rows are left out: the label '-', on which annotators disagree"
    assert (dropped in result.stdout) == (format == "SNLI-VE jsonl")
    assert f"has {counts[0]} questions; expected" in failure(run(dataset, root))
    assert "the labels of" in failure(part(dataset, root, "--min-count", "2"))


def test_a_missing_image_of_a_pair(tmp_path):
    root = tmp_path / "nlvr2"
    shutil.copytree(ROOT / "tests" / "fixtures" / "nlvr2", root)
    (root / "images" / "dev" / "dev-10-0-img1.png").unlink()
    assert "1 of 8 images are missing or damaged" in failure(part("nlvr2", root))


def test_the_pretraining(tmp_path):
    """Its sizes are not published, so that they are not checked; its answers are a table."""
    root = tmp_path / "pretraining"
    shutil.copytree(ROOT / "tests" / "fixtures" / "pretraining", root)
    result = run("pretraining", root)
    assert result.exit_code == 0, result.output
    ready = {row[0]: row for row in cells(result) if len(row) == 6}
    splits = ["mscoco_train", "mscoco_nominival", "vgnococo", "mscoco_minival"]
    assert list(ready) == splits
    assert {row[1] for row in ready.values()} == {"LXMERT pre-training JSON"}
    assert [row[2] for row in ready.values()] == ["24", "12", "20", "12"]
    *_, answers, following = result.stdout.splitlines()
    assert answers == f"answers: 13 in {root / 'all_ans.json'}"
    assert "config=projects/clipvil/configs/pretrain_stage1.yaml" in following
    assert "annotations" not in following  # the recipe's
    assert {row[4] for row in cells(run("pretraining", root)) if len(row) == 6} == {"kept"}
    shutil.rmtree(root / "VG_100K")
    failed = run("pretraining", root)
    assert "VG_100K/" in failure(failed) and "images2.zip" in failed.output


def test_the_pretraining_lacks_files(tmp_path):
    result = run("pretraining", tmp_path)
    assert "mscoco_train.json" in failure(result)
    assert "https://nlp.cs.unc.edu/data/lxmert_data/lxmert/vgnococo.json" in result.stdout
