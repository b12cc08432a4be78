"""The task entailment: the commands of docs/entailment.md, and a task of a package outside."""

import json
import re
import runpy
import shlex

import pytest
import torch
from omegaconf import OmegaConf
from typer.testing import CliRunner

import clipvil_mmf
from clipvil_mmf.checkpoints.tuned import merge
from clipvil_mmf.cli.main import app
from clipvil_mmf.config import ConfigError
from clipvil_mmf.tasks import TASKS
from tests.bridge.main.conftest import mmf  # noqa: F401 (a fixture)
from tests.bridge.runs import ROOT
from tests.e2e.conftest import evaluation_of

CLASSES = ["contradiction", "entailment", "neutral"]
IMAGE = ROOT / "tests" / "fixtures" / "own" / "images" / "first.jpg"
PAGE = (ROOT / "docs" / "entailment.md").read_text(encoding="utf-8")
SECTION = "dataset_config.clipvil_custom"


def commands(program):
    """The arguments of the page's commands, one list each."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    shell = [text.replace("\\\n", " ") for language, text in blocks if not language]
    lines = [shlex.split(line) for text in shell for line in text.splitlines()]
    return [arguments for name, *arguments in lines if name == program]


@pytest.fixture
def run(run_mmf, tmp_path, monkeypatch):
    """Run MMF with the page's options and others; stores are kept out of the repository."""
    monkeypatch.chdir(ROOT)
    small = (
        *("training.device=cpu", "training.tensorboard=false", f"{SECTION}.image_size=[64,64]"),
        *("training.max_epochs=null", "training.max_updates=2", "training.batch_size=9"),
        f"{SECTION}.store_dir={tmp_path / 'stores'}",
        "model_config.clipvil.image_encoder.params.tower.width=8",
    )

    def start(*opts, predict=False, **options):
        page, *_ = commands("mmf_predict" if predict else "mmf_run")
        return run_mmf(*page, *small, *opts, predict=predict, **options)

    return start


def test_the_page_from_training_to_the_score(run, tmp_path):
    trainer = run()
    assert trainer.num_updates == 2
    assert [loss.name for loss in trainer.model.losses.losses] == ["clipvil_cross_entropy"]
    figures = evaluation_of(trainer, "val")
    assert {"val/clipvil_custom/accuracy", "val/total_loss"} <= set(figures)
    folder = tmp_path / "save"
    classes = (folder / "vocabularies" / "clipvil_custom_answers.txt").read_text()
    assert classes.split() == CLASSES
    assert (folder / "best.ckpt").is_file()

    assert run("checkpoint.resume=true", "training.max_updates=3").num_updates == 3
    run(predict=True)
    (file,) = folder.rglob("reports/*_*.json")
    rows = json.loads(file.read_text())
    samples = json.loads((ROOT / "tests/fixtures/own/statements_val.json").read_text())
    assert [row["id"] for row in rows] == [sample["id"] for sample in samples]
    assert all(list(row) == ["id", "label"] and row["label"] in CLASSES for row in rows)

    right = sum(row["label"] == s["label"] for row, s in zip(rows, samples, strict=True))
    outputs = []
    for arguments in commands("clipvil"):
        given = [str(file) if argument == "FILE" else argument for argument in arguments]
        done = CliRunner().invoke(app, given)
        assert done.exit_code == 0, done.output
        outputs.append(done.output)
    assert "complete and in order" in outputs[0] and "entailment prediction file" in outputs[0]
    assert f"accuracy: {right / len(rows):.4f}" in outputs[0]
    assert f"{100 * right / len(rows):.2f}" in outputs[1]

    model = clipvil_mmf.from_pretrained(folder)
    found = model.answer(IMAGE, "There is a red square.")
    assert sorted(label for label, _ in found) == CLASSES
    assert sum(score for _, score in found) == pytest.approx(1)
    assert found == model.answer([IMAGE], ["There is a red square."])[0]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (
            "evaluation.metrics=['vqa_score']",
            r"evaluation\.metrics: vqa_score .* task entailment are classes\. Choices: accuracy",
        ),
        (
            "training.early_stop.criteria=clipvil_custom/vqa_score",
            r"training\.early_stop\.criteria: vqa_score .*Choices: accuracy",
        ),
        (
            f"{SECTION}.task.type=entailmen",
            r"clipvil_custom\.task\.type: unknown value .*Did you mean 'entailment'",
        ),
        (
            f"{SECTION}.task.params.labels=['entailment','entailment']",
            r"clipvil_custom\.task\.params\.labels: got 'entailment' twice",
        ),
    ],
)
def test_what_does_not_fit_is_an_error_at_start(run, option, message):
    with pytest.raises(ConfigError, match=message):
        run(option)


def test_the_task_names_the_classes_and_judges_by_its_metric(run, tmp_path):
    """Labels in another order, no metric named; a run of one sample a batch."""
    labels = ["neutral", "entailment", "contradiction"]
    trainer = run(
        f"{SECTION}.task.params.labels={labels}",
        *("evaluation.metrics=[]", "training.early_stop.criteria=val/total_loss"),
        *("training.early_stop.minimize=true", "training.batch_size=1"),
    )
    assert trainer.model.vocabularies["answer"] == labels
    assert "val/clipvil_custom/accuracy" in evaluation_of(trainer, "val")
    model = clipvil_mmf.from_pretrained(tmp_path / "save")
    assert model.answers == labels
    scores = model.scores([IMAGE], [0], ["There is a red square."])
    answers = dict(model.answer(IMAGE, "There is a red square."))
    expected = torch.softmax(scores[0], 0).tolist()
    assert [answers[label] for label in labels] == pytest.approx(expected)


PLUGIN = """
from dataclasses import dataclass

from clipvil_mmf.tasks import TASKS
from clipvil_mmf.tasks.entailment import Entailment


@dataclass
class RatingConfig:
    temperature: float = 1.0


class Rating(Entailment):
    default_loss = "clipvil_task"
    row_fields = ("sample", "rating")

    def __init__(self, config):
        self.config = config

    def probabilities(self, scores):
        return (scores / self.config.temperature).softmax(dim=1)


TASKS["rating"] = (RatingConfig, Rating)
"""


def test_a_task_of_a_package_outside(run, tmp_path, monkeypatch):
    (tmp_path / "outside" / "my_rating").mkdir(parents=True)
    (tmp_path / "outside" / "my_rating" / "__init__.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(tmp_path / "outside")
    yaml = OmegaConf.load(ROOT / "projects" / "clipvil" / "configs" / "entailment.yaml")
    yaml.includes = [str(ROOT / "projects" / "clipvil" / "configs" / "custom_small.yaml")]
    yaml.env.user_dir = "my_rating"
    task = {"type": "rating", "params": {"temperature": 2.0}}
    yaml.dataset_config.clipvil_custom.task = task
    OmegaConf.save(yaml, tmp_path / "rating.yaml")
    config = f"config={tmp_path / 'rating.yaml'}"
    monkeypatch.delitem(TASKS, "rating", raising=False)
    trainer = run(config)
    assert [loss.name for loss in trainer.model.losses.losses] == ["clipvil_task"]
    run(config, predict=True)
    (file,) = (tmp_path / "save").rglob("reports/*_*.json")
    assert {tuple(row) for row in json.loads(file.read_text())} == {("sample", "rating")}
    model = clipvil_mmf.from_pretrained(tmp_path / "save")
    scores = model.scores([IMAGE], [0], ["There is a red square."])[0]
    found = dict(model.answer(IMAGE, "There is a red square."))
    expected = torch.softmax(scores / 2, 0).tolist()
    assert [found[label] for label in CLASSES] == pytest.approx(expected)

    monkeypatch.delitem(TASKS, "rating")
    with pytest.raises(ConfigError, match=r"save: task\.type: unknown value 'rating'"):
        clipvil_mmf.from_pretrained(tmp_path / "save")


def test_a_tuned_run_and_its_merge(run, tmp_path):
    """The ladder begins with Fisher information: the task's likelihood."""
    run(f"env.save_dir={tmp_path / 'full'}", "run_type=train")
    ladder = (
        *("tuning.method=ladder", "tuning.params.initialization=fisher"),
        f"pretrained={tmp_path / 'full'}",
    )
    run(*(f"model_config.clipvil.{option}" for option in ladder), "run_type=train")
    merge(tmp_path / "save", tmp_path / "merged")
    model = clipvil_mmf.from_pretrained(tmp_path / "merged")
    assert model.task.name == "entailment"
    found = model.answer(IMAGE, "There is a red square.")
    assert sum(score for _, score in found) == pytest.approx(1)


def test_statements_about_easy_vqa(package, tmp_path, monkeypatch, capsys):
    (arguments,) = commands("python")
    monkeypatch.setattr("sys.argv", [*arguments[:1], str(tmp_path / "made"), "--images", "5"])
    runpy.run_path(str(ROOT / arguments[0]), run_name="__main__")
    assert "train: 15 statements about 5 images" in capsys.readouterr().out
    rows = json.loads((tmp_path / "made" / "train.json").read_text())
    assert sorted(row["label"] for row in rows) == sorted(CLASSES * 5)
    assert all((tmp_path / "made" / row["image"]).is_file() for row in rows)
    told = {(row["image"], row["sentence"]) for row in rows if row["label"] == "entailment"}
    assert not told & {
        (row["image"], row["sentence"]) for row in rows if row["label"] != "entailment"
    }


def test_a_profile(monkeypatch):
    monkeypatch.chdir(ROOT)
    config = "projects/clipvil/configs/entailment.yaml"
    options = ["--image-size", "64x64", "--repeats", "1", "--device", "cpu"]
    done = CliRunner().invoke(app, ["profile", "--config", config, "--answers", "3", *options])
    assert done.exit_code == 0, done.output
    assert "full" in done.output
