"""The plugin from end to end: training, checkpoints, prediction, the check of the file."""

import json
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from typer.testing import CliRunner

from clipvil_mmf.data import easy_vqa_files
from tests.e2e.conftest import SMALL, evaluation_of, save


def test_from_training_to_a_leaderboard_file(tmp_path, run, monkeypatch):
    import mmf_cli.predict

    from clipvil_mmf.cli.main import app

    trainer = run()
    folder = tmp_path / "save"
    for name in ("best.ckpt", "current.ckpt", "clipvil_final.pth"):
        torch.load(folder / name, weights_only=True)
    assert torch.load(folder / "current.ckpt", weights_only=True)["num_updates"] == 4
    assert (folder / "vocabularies" / "easy_vqa_answers.txt").read_text().split()
    assert trainer.early_stopping.best_monitored_update in (2, 4)

    # As the command line gives it: lower case.
    options = [*SMALL, save(tmp_path), "checkpoint.resume=true", "checkpoint.resume_best=true"]
    monkeypatch.setattr(sys, "argv", ["mmf_predict", *options])
    mmf_cli.predict.predict()
    (file,) = folder.rglob("reports/*_*.json")
    rows = json.loads(file.read_text())
    expected = easy_vqa_files.read_questions("test")
    assert [row["question_id"] for row in rows] == [q.question_id for q in expected]
    assert {row["answer"] for row in rows} <= set(easy_vqa_files.read_answers())

    done = CliRunner().invoke(app, ["check-submission", str(file), "--questions", "easy_vqa"])
    assert done.exit_code == 0, done.output
    assert "a server would accept it" in done.output
    right = [row["answer"] in q.answers for row, q in zip(rows, expected, strict=True)]
    assert f"accuracy: {sum(right) / len(right):.4f}" in done.output


def test_the_saved_configuration_is_whole_and_goes_on(tmp_path, run, run_mmf):
    run("run_type=train")
    file = tmp_path / "save" / "config.yaml"
    saved = OmegaConf.load(file)
    network = saved.model_config.clipvil
    assert (
        network.visual_embedding.pos_num == 25
        and network.classifier.params.initializer_range == 0.1
    )
    assert saved.dataset_config.easy_vqa.on_bad_image == "raise"
    assert network.fusion.params.type_vocab_size == 2 and network.tuning.method == "full"
    again = run_mmf(
        *(f"config={file}", save(tmp_path), "checkpoint.resume=true"),
        *("training.max_updates=6", "run_type=train"),
    )
    assert again.num_updates == 6 and again.first_update == 4
    changed = OmegaConf.load(file)
    assert changed.model_config == saved.model_config
    assert changed.dataset_config == saved.dataset_config


def test_grouping_by_image_changes_no_loss(tmp_path, run):
    run("run_type=train")
    losses = []
    for flag in ("true", "false"):
        trainer = run(
            "checkpoint.resume=true",
            f"dataset_config.easy_vqa.group_by_image={flag}",
            load_only=True,
        )
        losses.append(evaluation_of(trainer, "val"))
    assert losses[0]["val/total_loss"] == pytest.approx(losses[1]["val/total_loss"], abs=1e-6)
    assert losses[0].keys() == losses[1].keys()


@pytest.mark.parametrize("frozen", ["true", "false"])
def test_a_vit_trains_by_options_alone(tmp_path, run, frozen):
    tower = "model_config.clipvil.image_encoder.params.tower"
    run(
        "run_type=train",
        *(f"{tower}.layers=2", f"{tower}.width=16", f"{tower}.head_width=8"),
        f"model_config.clipvil.image_encoder.params.frozen={frozen}",
        small_tower=False,
    )
    report = json.loads((tmp_path / "save" / "run_report.json").read_text())
    assert report["updates"] == 4
    assert report["multiply_adds"] > 0 and report["failures"] == []


def test_the_tower_runs_once_for_each_image_of_a_batch(run):
    seen = []
    trainer = run(load_only=True)
    encoder = trainer.model.network.image_encoder
    encoder.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    evaluation_of(trainer, "test")
    questions = easy_vqa_files.read_questions("test")
    assert sum(seen) < len(questions) / 2  # some images' questions lie in two batches
    assert sum(seen) >= len({question.image for question in questions})


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("model=clipvill", r"Did you mean clipvil\?"),
        ("dataset=easy_vqaa", r"Did you mean easy_vqa\?"),
        ("model_config.clipvil.image_encoder.type=clip_gird", r"clip_gird.*clip_grid"),
        ("model_config.clipvil.fusion.params.hiden_size=3", r"Did you mean 'hidden_size'"),
        ("dataset_config.easy_vqa.group_by_imag=true", r"Did you mean .*group_by_image"),
        ("training.max_update=3", r"Did you mean training\.max_updates"),
        ("scheduler.type=warmup_liner", r"Did you mean warmup_linear"),
        ("prediction.topk=5", r"Did you mean prediction\.top_k"),
        ("prediction.top_k=0", r"prediction\.top_k: got 0, expected at least 1"),
    ],
)
def test_an_unknown_name_is_one_clear_error(run, option, message):
    with pytest.raises(ValueError, match=message):
        run(option)


@pytest.mark.parametrize(
    ("section", "params", "message"),
    [
        ("fusion", {"hiden_size": 3}, r"clipvil\.fusion.*hiden_size.*Did you mean 'hidden_size'"),
        ("image_encoder", {"name": "RN50x5", "tower": None}, r"image_encoder.*RN50x5.*RN50x4"),
    ],
)
def test_a_bad_yaml_is_one_clear_error(tmp_path, run, section, params, message):
    yaml = OmegaConf.load(SMALL[0].split("=", 1)[1])
    yaml.model_config.clipvil[section].params = params
    OmegaConf.save(yaml, tmp_path / "bad.yaml")
    with pytest.raises(ValueError, match=message):
        run(f"config={tmp_path / 'bad.yaml'}", small_tower=False)


def test_a_checkpoint_of_another_vocabulary_is_refused(package, run):
    run("run_type=train")
    file = package / "answers.txt"
    file.write_text("\n".join(reversed(file.read_text().split())))
    with pytest.raises(ValueError, match=r"another answer vocabulary.*differ first in entry 0"):
        run("checkpoint.resume=true", predict=True)


def test_a_checkpoint_of_another_size_is_refused(run):
    run("run_type=train")
    with pytest.raises((ValueError, RuntimeError), match=r"current\.ckpt.*another model|size mism"):
        run("checkpoint.resume=true", "model_config.clipvil.fusion.params.num_hidden_layers=1")


def image_of(split, position=0):
    questions = easy_vqa_files.read_questions(split)
    return questions[position].image


@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_bad_image(tmp_path, run, damage):
    file = Path(image_of("train"))
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:60])
    with pytest.raises(Exception, match=str(file)):
        run("run_type=train")
    run("run_type=train", "dataset_config.easy_vqa.on_bad_image=skip")
    log = "".join(f.read_text() for f in (tmp_path / "save" / "logs").iterdir())
    assert "1 of 27 images are missing or damaged; 6 questions are left out" in log
    assert f"Image {file}" in log


def test_predicting_before_training_says_so(run):
    with pytest.raises(FileNotFoundError, match="train first"):
        run("checkpoint.resume=true", predict=True)
