"""VQA v2, GQA and a dataset of one's own, by the yaml files that users run, on small files."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import clipvil_mmf
from clipvil_mmf.cli.main import app
from clipvil_mmf.config import ConfigError
from clipvil_mmf.data import files
from clipvil_mmf.data.catalogue import CatalogueError
from clipvil_mmf.data.images import BadImageError
from tests.bridge.main.conftest import mmf  # noqa: F401 (a fixture)
from tests.bridge.runs import ROOT

CONFIGS = ROOT / "projects" / "clipvil" / "configs"
FIXTURES = ROOT / "tests" / "fixtures"
TINY_MODEL = tuple(
    f"model_config.clipvil.{option}"
    for option in (
        "image_encoder.params.tower.layers=[1,1,1,1]",
        "image_encoder.params.tower.width=8",
        "fusion.params.hidden_size=32",
        "fusion.params.num_attention_heads=2",
        "fusion.params.intermediate_size=64",
    )
)
SHORT = (
    *("training.device=cpu", "training.num_workers=0", "training.tensorboard=false"),
    *("training.max_epochs=null", "training.max_updates=2", "training.batch_size=8"),
    *("training.update_frequency=2", "training.persistent_workers=false"),
)


@pytest.fixture
def data(tmp_path):
    """A copy of the fixtures that a test may damage."""
    shutil.copytree(FIXTURES, tmp_path / "data")
    return tmp_path / "data"


def options(yaml, dataset, data, *more, model=TINY_MODEL, folder=None):
    section = f"dataset_config.{dataset}"
    return (
        f"config={CONFIGS / yaml}",
        f"{section}.data_dir={data / (folder or dataset)}",
        f"{section}.image_size=[64,96]",
        f"{section}.processors.text_processor.params.vocab={data / 'vocab.txt'}",
        *model,
        *SHORT,
        *more,
    )


def predictions(tmp_path):
    (file,) = tmp_path.rglob("reports/*_*.json")
    return file, json.loads(file.read_text())


def accepts(file, dataset, data, split):
    arguments = ["check-submission", str(file), "--questions", dataset, "--split", split]
    result = CliRunner().invoke(app, [*arguments, "--root", str(data / dataset)])
    assert result.exit_code == 0, result.output
    return "a server would accept it" in result.output


def test_vqa2_from_training_to_the_leaderboard_file(run_mmf, data, tmp_path):
    trained = run_mmf(*options("vqa2.yaml", "vqa2", data))
    assert trained.num_updates == 2
    run_mmf(*options("vqa2.yaml", "vqa2", data), "checkpoint.resume=true", predict=True)
    file, rows = predictions(tmp_path)
    assert {tuple(map(type, row.values())) for row in rows} == {(int, str)}
    assert list(rows[0]) == ["question_id", "answer"]
    assert accepts(file, "vqa2", data, "test")


def test_gqa_from_training_to_the_leaderboard_file(run_mmf, data, tmp_path):
    run_mmf(*options("gqa.yaml", "gqa", data))
    run_mmf(*options("gqa.yaml", "gqa", data), "checkpoint.resume=true", predict=True)
    file, rows = predictions(tmp_path)
    assert list(rows[0]) == ["questionId", "prediction"]
    assert {tuple(map(type, row.values())) for row in rows} == {(str, str)}
    assert accepts(file, "gqa", data, "submission")


def test_the_recipes_reach_the_optimizer(run_mmf, data):
    """What vqa2.yaml and gqa.yaml train with is the published recipe."""
    for yaml, dataset, milestone in (("vqa2.yaml", "vqa2", 2), ("gqa.yaml", "gqa", 3)):
        trainer = run_mmf(*options(yaml, dataset, data), "env.overwrite=true")
        groups = {group["name"]: group for group in trainer.optimizer.param_groups}
        assert set(groups) == {"decay", "no_decay", "tower"}
        assert groups["decay"]["initial_lr"] == 5e-5
        assert groups["decay"]["weight_decay"] == 0.01
        assert groups["no_decay"]["weight_decay"] == 0.0
        assert groups["tower"]["algorithm"] == "sgd"
        assert groups["tower"]["initial_lr"] == 1e-3
        assert groups["tower"]["weight_decay"] == 4e-4
        assert trainer.config.scheduler.params.milestones == [milestone]
        assert trainer.config.training.max_grad_l2_norm == 1.0
        assert trainer.config.model_config.clipvil.losses[0].params.loss_scale == 500
        assert trainer.run_length.leftover_batches == "carry"


def test_a_frozen_tower(run_mmf, data):
    trainer = run_mmf(*options("vqa2_frozen.yaml", "vqa2", data))
    tower = trainer.model.network.image_encoder
    assert not any(parameter.requires_grad for parameter in tower.parameters())
    counters = [v for name, v in tower.state_dict().items() if name.endswith("batches_tracked")]
    assert counters
    assert not any(counters)  # its BatchNorm never saw a batch
    assert {group["name"] for group in trainer.optimizer.param_groups} == {"decay", "no_decay"}


LAYERS = tuple(
    f"model_config.clipvil.fusion.params.{kind}_layers=1"
    for kind in ("language", "cross", "visual")
)


def test_lxmert_over_the_grid(run_mmf, data):
    trainer = run_mmf(*options("lxmert_vqa2.yaml", "vqa2", data, *LAYERS))
    assert trainer.num_updates == 2
    assert type(trainer.model.network.fusion).__name__ == "CrossModalFusion"


def test_text_in_the_blocks_of_a_vit(run_mmf, data):
    tower = "model_config.clipvil.image_encoder.params.tower"
    model = (
        "model_config.clipvil.image_encoder.type=clip_patches",
        *(f"{tower}.layers=2", f"{tower}.width=32", f"{tower}.head_width=16"),
        f"{tower}.patch_size=32",
        "model_config.clipvil.fusion.type=vilt",
        *(option for option in TINY_MODEL if "fusion.params" in option),
    )
    trainer = run_mmf(*options("vqa2.yaml", "vqa2", data, model=model))
    groups = {group["name"]: group["params"] for group in trainer.optimizer.param_groups}
    blocks = {id(p) for p in trainer.model.network.image_encoder.blocks.parameters()}
    assert blocks <= {id(parameter) for parameter in groups["tower"]}


def test_flags_of_the_published_gqa(run_mmf, data, tmp_path):
    """--mceLoss and --use_max_pooling, without --use_positional_embedding."""
    yaml = tmp_path / "flags.yaml"
    model = {
        "losses": [{"type": "clipvil_mce", "params": {"loss_scale": 500}}],
        "visual_embedding": {"max_pooling": True, "pos_num": None},
    }
    content = {"includes": [str(CONFIGS / "gqa.yaml")], "model_config": {"clipvil": model}}
    yaml.write_text(json.dumps(content))
    trainer = run_mmf(*options(yaml, "gqa", data))
    (loss,) = trainer.model.losses.losses
    assert loss.name == "clipvil_mce" and loss.loss_criterion.loss_scale == 500
    assert trainer.model.network.visual_embedding.max_pooling
    assert trainer.num_updates == 2


def test_lxmert_over_regions(run_mmf, data):
    features = data / "features"
    features.mkdir()
    random = np.random.default_rng(0)
    for image in (data / "vqa2").rglob("*.jpg"):
        width, height = Image.open(image).size
        count = int(random.integers(2, 5))
        corner = random.random((count, 2)) / 2
        boxes = np.concatenate([corner, corner + 0.4], 1) * [width, height, width, height]
        np.savez(
            features / f"{image.stem}.npz",
            features=random.random((count, 16), dtype=np.float32),
            boxes=boxes.astype(np.float32),
            width=width,
            height=height,
        )
    model = (
        *(option for option in TINY_MODEL if "image_encoder" not in option),
        "model_config.clipvil.image_encoder.params.feature_size=16",
    )
    trainer = run_mmf(
        *options("lxmert_vqa2_regions.yaml", "vqa2", data, *LAYERS, model=model),
        f"dataset_config.vqa2.features.path={features}",
    )
    assert trainer.num_updates == 2
    batch = next(iter(trainer.train_loader))
    assert batch["region_features"].shape[2] == 16
    assert "images" not in batch


def test_a_dataset_of_ones_own(run_mmf, data, tmp_path):
    own = options(
        "custom.yaml",
        "clipvil_custom",
        data,
        "dataset_config.clipvil_custom.images_dir=" + str(data / "own" / "images"),
        "dataset_config.clipvil_custom.annotations.train=questions.json",
        "dataset_config.clipvil_custom.annotations.val=questions_val.json",
        folder="own",
    )
    trainer = run_mmf(*own)
    assert trainer.num_updates == 2
    assert list((data / "own" / "stores").glob("questions-*/store.json"))
    assert not trainer.test_loader.num_datasets


def test_a_small_model_of_ones_own_data(run_mmf, data):
    """By custom_small.yaml as it is, but for its epochs; nothing is downloaded."""
    section = "dataset_config.clipvil_custom"
    trainer = run_mmf(
        f"config={CONFIGS / 'custom_small.yaml'}",
        f"{section}.data_dir={data / 'own'}",
        f"{section}.images_dir={data / 'own' / 'images'}",
        f"{section}.annotations.train=questions.json",
        f"{section}.annotations.val=questions_val.json",
        *("training.device=cpu", "training.tensorboard=false", "training.max_epochs=12"),
    )
    folder = Path(trainer.config.env.save_dir)
    log = "".join(file.read_text() for file in folder.glob("logs/train*.log"))
    assert trainer.num_updates == 12 * len(trainer.train_loader)
    losses = [float(x) for x in re.findall(r"train/clipvil_custom/logit_bce: ([0-9.]+)", log)]
    scores = re.findall(r"\d, val/.*val/clipvil_custom/vqa_score: ([0-9.]+)", log)
    assert len(losses) >= 10 and len(scores) == 12
    assert losses[-1] < losses[0]
    model = clipvil_mmf.from_pretrained(folder)
    question = "What color is the shape on the left?"
    found = model.answer(data / "own" / "images" / "first.jpg", question, top_k=3)
    assert len(found) == 3 and {answer for answer, _ in found} <= set(model.answers)


def test_an_answer_vocabulary_of_the_dataset_is_made_once(run_mmf, data, monkeypatch):
    """It is the same for all splits, and takes a look at every training question."""
    made, stock = [], files.build_labels
    monkeypatch.setattr(files, "build_labels", lambda *a: made.append(1) or stock(*a))
    vocab = "dataset_config.gqa.processors.answer_processor.params.vocab=dataset"
    trainer = run_mmf(*options("gqa.yaml", "gqa", data), vocab)
    splits = [getattr(trainer, f"{name}_loader") for name in ("train", "val", "test")]
    answers = [split.current_dataset.answer_processor.labels for split in splits]
    assert answers[0] == answers[1] == answers[2] != []
    assert made == [1]


def test_formats_of_one_split_give_the_same_batches(run_mmf, data):
    """Official files, and LXMERT's of the same split, end in the same targets."""
    official = run_mmf(*options("vqa2.yaml", "vqa2", data), "training.max_updates=1")
    for file in (data / "vqa2").glob("v2_*train2014*.json"):
        file.unlink()
    again = ("training.max_updates=1", "env.overwrite=true")
    lxmert = run_mmf(*options("vqa2.yaml", "vqa2", data), *again)
    tables = []
    for trainer in (official, lxmert):
        dataset = trainer.train_loader.current_dataset
        tables.append({i: dataset[i]["targets"] for i in range(len(dataset))})
    assert len(tables[0]) == len(tables[1]) > 0
    for i, targets in tables[0].items():
        assert targets.equal(tables[1][i])


def test_missing_lxmert_splits_name_the_way_out(run_mmf, data):
    (data / "vqa2" / "minival.json").unlink()
    shutil.rmtree(data / "vqa2" / "defaults", ignore_errors=True)
    with pytest.raises(CatalogueError, match=r"annotations\.val=val"):
        run_mmf(*options("vqa2.yaml", "vqa2", data))
    trainer = run_mmf(
        *options("vqa2.yaml", "vqa2", data),
        "dataset_config.vqa2.annotations.train=train",
        "dataset_config.vqa2.annotations.val=val",
    )
    assert trainer.val_loader.current_dataset.table.formats == ["official VQA v2 JSON"]


@pytest.mark.parametrize(
    ("dataset", "splits", "gone"),
    [
        ("vqa2", "train,val,test", ("nominival.json", "minival.json")),
        ("vqa2", "train", ("minival.json", "test2015")),
        ("gqa", "train,val,testdev", ("submission_all_questions.json",)),
    ],
)
def test_what_prepare_prints_runs(run_mmf, data, dataset, splits, gone):
    """The next command after some of the splits were prepared, without the files of others."""
    for name in gone:
        lost = data / dataset / name
        shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    arguments = ["prepare", dataset, "--root", str(data / dataset), "--splits", splits]
    result = CliRunner().invoke(app, [*arguments, "--allow-other-counts"])
    assert result.exit_code == 0, result.output
    _, program, config, *printed = shlex.split(result.stdout.splitlines()[-1])
    assert program == "mmf_run"
    _, *small = options(f"{dataset}.yaml", dataset, data)
    trainer = run_mmf(config, *small, *printed)
    assert trainer.num_updates == 2
    assert bool(trainer.val_loader.num_datasets) == ("val" in splits)


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (
            lambda d: shutil.rmtree(d / "vqa2"),
            ConfigError,
            r"data_dir: .*vqa2 is not a folder.*prepare",
        ),
        (
            lambda d: (d / "vqa2" / "trainval_label2ans.json").unlink(),
            ConfigError,
            r"trainval_label2ans.json is neither .*published list is http",
        ),
        (
            lambda d: next((d / "vqa2" / "train2014").iterdir()).unlink(),
            BadImageError,
            r"train2014/COCO_train2014_\d+\.jpg does not exist",
        ),
    ],
)
def test_missing_files_are_one_clear_error(run_mmf, data, damage, error, message):
    damage(data)
    with pytest.raises(error, match=re.compile(message)):
        run_mmf(*options("vqa2.yaml", "vqa2", data))


def test_vqa2_tiny_needs_no_options(run_mmf, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    tiny = (f"config={CONFIGS / 'vqa2_tiny.yaml'}", "training.device=cpu")
    trainer = run_mmf(*tiny, "training.max_epochs=null", "training.max_updates=2")
    assert trainer.num_updates == 2
    # Nothing is written into the fixtures.
    assert list((tmp_path / "save" / "stores").glob("train-*/store.json"))
    assert not (FIXTURES / "vqa2" / "stores").exists()
