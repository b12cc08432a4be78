"""OK-VQA, A-OKVQA, VizWiz, Visual Genome, TextVQA and ST-VQA, by the yaml files that users run."""

import json
import shlex

import pytest
from typer.testing import CliRunner

from clipvil_mmf.cli.main import app
from clipvil_mmf.data.files import FilesBuilder
from clipvil_mmf.data.formats import read_table
from clipvil_mmf.data.formats.data_list import NOTE
from tests.bridge.main.conftest import mmf  # noqa: F401 (a fixture)
from tests.bridge.runs import ROOT
from tests.e2e.test_vqa_files import data, options, predictions  # noqa: F401 (a fixture)


def clipvil(*arguments):
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.stdout


def prepared(dataset, data):  # noqa: F811
    """The options that `clipvil prepare` ends with."""
    root = data / dataset
    given = ("--root", root, "--allow-other-counts", "--min-count", 2)
    _, program, config, *printed = shlex.split(clipvil("prepare", dataset, *given).splitlines()[-1])
    assert (program, config) == ("mmf_run", f"config=projects/clipvil/configs/{dataset}.yaml")
    answers = json.loads((root / "answers_min2.json").read_text())
    assert len(answers) > 1
    return printed


def trained_and_predicted(run_mmf, dataset, data, tmp_path, split):  # noqa: F811
    given = prepared(dataset, data)
    part = f"dataset_config.{dataset}.annotations.test={split}"
    run = (*options(f"{dataset}.yaml", dataset, data), *given, part)
    assert run_mmf(*run).num_updates == 2
    run_mmf(*run, "checkpoint.resume=true", predict=True)
    return predictions(tmp_path)


def test_aokvqa_in_both_settings(run_mmf, data, tmp_path):  # noqa: F811
    root = data / "aokvqa"
    file, content = trained_and_predicted(run_mmf, "aokvqa", data, tmp_path, "val")
    table = read_table([root / "aokvqa_v1p0_val.json"])
    assert list(content) == table.ids()
    right = 0
    for row, given, correct in zip(
        content.values(), table.choices(), table.correct_choices(), strict=True
    ):
        assert set(row) == {"direct_answer", "multiple_choice"}
        assert row["multiple_choice"] in given
        right += row["multiple_choice"] == correct
    named = ("--questions", "aokvqa", "--root", root, "--split", "val")
    printed = clipvil("check-submission", file, *named)
    assert "aokvqa leaderboard file" in printed and "a server would accept it" in printed
    assert f"accuracy of choices: {right / len(table):.4f}" in printed
    scores = json.loads(clipvil("score", file, *named, "--json"))
    assert scores["rule"] == "A-OKVQA, direct answers: min(1, matches / 3)"
    assert scores["overall"]["questions"] == 12 and scores["left_out"] == 3
    assert scores["multiple_choice"]["overall"] == {
        "accuracy": round(100 * right / len(table), 2),
        "questions": 15,
    }


def test_vizwiz_from_training_to_the_result_file(run_mmf, data, tmp_path):  # noqa: F811
    root = data / "vizwiz"
    file, rows = trained_and_predicted(run_mmf, "vizwiz", data, tmp_path, "test")
    images = [row["image"] for row in json.loads((root / "test.json").read_text())]
    assert [list(row) for row in rows] == [["image", "answer"]] * 4
    assert [row["image"] for row in rows] == images
    named = ("--questions", "vizwiz", "--root", root)
    assert "a server would accept it" in clipvil("check-submission", file, *named)

    file.unlink()
    second = "dataset_config.vizwiz.task.params.predicts=answerability"
    given = (*options("vizwiz.yaml", "vizwiz", data), second)
    run_mmf(*given, "checkpoint.resume=true", predict=True)
    file, rows = predictions(tmp_path)
    assert [row["image"] for row in rows] == images
    assert all(0 < row["answerable"] < 1 for row in rows)
    assert "a server would accept it" in clipvil("check-submission", file, *named)


def test_vizwiz_tiny_needs_no_options(run_mmf, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    config = f"config={ROOT / 'projects/clipvil/configs/vizwiz_tiny.yaml'}"
    updates = ("training.max_epochs=null", "training.max_updates=2")
    assert run_mmf(config, "training.device=cpu", *updates).num_updates == 2
    # Nothing is written into the fixtures.
    assert list((tmp_path / "save" / "stores").glob("train-*/store.json"))


@pytest.mark.parametrize("dataset", ["okvqa", "visual_genome", "textvqa"])
def test_the_others_train_as_prepare_says(run_mmf, data, dataset, monkeypatch, capfd):  # noqa: F811
    monkeypatch.setattr(FilesBuilder, "_noted", set())
    given = prepared(dataset, data)
    trainer = run_mmf(*options(f"{dataset}.yaml", dataset, data), *given)
    assert trainer.num_updates == 2
    assert bool(trainer.val_loader.num_datasets) == (dataset != "visual_genome")
    said = capfd.readouterr().out
    assert said.count(f"{dataset}: {NOTE}") == (dataset == "textvqa")
    assert ("next     mmf_predict" in said) == bool(trainer.test_loader.num_datasets)
    assert bool(trainer.test_loader.num_datasets) == (dataset != "visual_genome")


def test_stvqa_is_a_dataset_of_ones_own(run_mmf, data):  # noqa: F811
    trainer = run_mmf(*options("stvqa.yaml", "clipvil_custom", data, folder="stvqa"))
    assert trainer.train_loader.current_dataset.table.formats == ["ST-VQA JSON"]
    assert trainer.num_updates == 2
