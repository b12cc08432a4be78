"""SNLI-VE and NLVR2 by their yaml files, from training to the score of a prediction file."""

import json
import shutil

import pytest
import torch
from omegaconf import OmegaConf
from typer.testing import CliRunner

import clipvil_mmf
from clipvil_mmf.checkpoints.tuned import merge
from clipvil_mmf.cli.main import app
from clipvil_mmf.config import ConfigError
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.tuning import METHODS
from tests.bridge.main.conftest import mmf  # noqa: F401 (a fixture)
from tests.bridge.runs import ROOT
from tests.e2e.conftest import evaluation_of
from tests.fixtures.make import write_uniter

CONFIGS = ROOT / "projects" / "clipvil" / "configs"
FIXTURES = ROOT / "tests" / "fixtures"
SHORT = (
    *("training.device=cpu", "training.tensorboard=false", "training.max_epochs=null"),
    *("training.max_updates=2", "training.evaluation_interval=2", "training.log_interval=1"),
)
TWO_PASSES = (
    "dataset_config.nlvr2.task.params.pairing=two_passes",
    "dataset_config.nlvr2.image_transform=fit_pad",
    "dataset_config.nlvr2.image_size=[64,64]",
)


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def train(run_mmf):
    """Run the tiny yaml file of a data set."""

    def start(name, *opts, **options):
        return run_mmf(f"config={CONFIGS / f'{name}_tiny.yaml'}", *SHORT, *opts, **options)

    return start


def command(name, *arguments):
    done = CliRunner().invoke(app, [name, *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_snli_ve_from_training_to_the_score(train, tmp_path):
    trainer = train("snli_ve")
    assert trainer.num_updates == 2
    figures = evaluation_of(trainer, "test")
    (loss,) = trainer.model.losses.losses
    assert loss.name == "clipvil_cross_entropy"
    train("snli_ve", "checkpoint.resume=true", "checkpoint.resume_best=true", predict=True)
    (file,) = (tmp_path / "save").rglob("reports/*_*.json")
    rows = json.loads(file.read_text())
    assert len(rows) == 12 and list(rows[0]) == ["id", "label"]
    root = tmp_path / "snli_ve"  # stores are written beside the data
    shutil.copytree(FIXTURES / "snli_ve", root)
    options = ("--questions", "snli_ve", "--split", "test", "--root", root)
    found = json.loads(command("score", file, *options, "--json"))
    accuracy = found["overall"]["accuracy"]
    assert accuracy == pytest.approx(100 * figures["test/snli_ve/accuracy"], abs=0.01)
    assert {mean["questions"] for mean in found["groups"]["label"].values()} == {4}
    assert "complete and in order" in command("check-submission", file, *options)
    command("show", file, *options, "--output", tmp_path / "p.png")

    model = clipvil_mmf.from_pretrained(tmp_path / "save")
    assert model.answers == ["contradiction", "entailment", "neutral"]
    image = next((FIXTURES / "snli_ve" / "flickr30k_images").iterdir())
    assert sum(score for _, score in model.answer(image, "It is red.")) == pytest.approx(1)


def test_snli_ve_from_uniters_databases(train, tmp_path):
    """The same run from the other release: the same pairs in another order."""
    root = tmp_path / "data"
    for split in ("train", "dev", "test"):
        lines = (FIXTURES / "snli_ve" / f"snli_ve_{split}.jsonl").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        write_uniter(root / f"ve_{split}.db", [row for row in rows if row["gold_label"] != "-"])
    images = f"dataset_config.snli_ve.images_dir={FIXTURES / 'snli_ve' / 'flickr30k_images'}"
    trainer = train("snli_ve", f"dataset_config.snli_ve.data_dir={root}", images, load_only=True)
    dataset = trainer.train_loader.current_dataset
    assert dataset.table.formats == ["UNITER text database of SNLI-VE"] and len(dataset) == 24
    assert (
        sorted(dataset.__getitems__(range(24))["targets"].tolist()) == [0] * 8 + [1] * 8 + [2] * 8
    )


@pytest.mark.parametrize("pairing", ["side_by_side", "two_passes"])
def test_nlvr2_from_training_to_the_score(train, tmp_path, pairing):
    options = TWO_PASSES if pairing == "two_passes" else ()
    trainer = train("nlvr2", *options)
    batch = next(iter(trainer.train_loader))
    if pairing == "two_passes":
        assert batch["images"].shape[1:] == (3, 64, 64) and batch["image_index"].shape[1] == 2
        assert trainer.model.network.classifier.hidden.in_features == 128
    else:
        assert batch["images"].shape[1:] == (3, 64, 192) and batch["image_index"].ndim == 1
        assert trainer.model.network.visual_embedding.positions.columns.weight.shape[0] == 40
    figures = evaluation_of(trainer, "test")
    train("nlvr2", *options, "checkpoint.resume=true", "checkpoint.resume_best=true", predict=True)
    (file,) = (tmp_path / "save").rglob("reports/*_*.csv")
    lines = [json.loads(text) for text in (FIXTURES / "nlvr2" / "test1.json").open()]
    written = [line.split(",") for line in file.read_text().splitlines()]
    assert [identifier for identifier, _ in written] == [row["identifier"] for row in lines]
    assert {prediction for _, prediction in written} <= {"True", "False"}

    root = tmp_path / "nlvr2"
    shutil.copytree(FIXTURES / "nlvr2", root)
    asked = ("--questions", "nlvr2", "--split", "test1", "--root", root)
    found = json.loads(command("score", file, *asked, "--json"))
    assert found["overall"]["accuracy"] == 100 * figures["test/nlvr2/accuracy"]
    assert found["consistency"]["sentences"] == 4
    assert "complete and in order" in command("check-submission", file, *asked)
    command("show", file, *asked, "--output", tmp_path / "p.png")

    # One sentence about a pair in a notebook: as it was predicted.
    model = clipvil_mmf.from_pretrained(tmp_path / "save")
    samples = [
        [root / "images" / "test1" / f"{row['identifier'][:-2]}-img{side}.png" for side in (0, 1)]
        for row in lines
    ]
    answers = model.answer(samples, [row["sentence"] for row in lines])
    assert [best[0][0] for best in answers] == [prediction for _, prediction in written]
    alone = dict(model.answer(samples[0], lines[0]["sentence"]))
    assert alone == pytest.approx(dict(answers[0]), abs=1e-5)
    for wrong in (samples[0][0], samples[0][:1], [*samples[0], samples[0][0]]):
        with pytest.raises(ValueError, match=r"image.* of the task nlvr2: expected 2"):
            model.answer(wrong, "It is red.")


def test_a_pair_is_tuned_beside_a_frozen_backbone(train, tmp_path):
    """By the ladder that reads samples first; what it leaves is whole after a merge."""
    backbone = tmp_path / "backbone"
    train("nlvr2", *TWO_PASSES, f"env.save_dir={backbone}", "training.max_updates=1")
    tuning = "model_config.clipvil.tuning"
    train(
        "nlvr2",
        *TWO_PASSES,
        f"model_config.clipvil.pretrained={backbone}",
        *(f"{tuning}.method=ladder", f"{tuning}.params.initialization=fisher"),
        f"{tuning}.params.fisher_samples=4",
    )
    merge(tmp_path / "save", tmp_path / "merged")
    image = FIXTURES / "nlvr2" / "images" / "test1" / "test1-10-0-img0.png"
    asked = [image, image.with_name("test1-10-0-img1.png")], "It is red."
    whole = clipvil_mmf.from_pretrained(tmp_path / "merged").answer(*asked)
    assert [label for label, _ in whole] in (["True", "False"], ["False", "True"])


def test_a_wide_picture_is_never_cut(train):
    """Fewer columns than cells are an error that says how many there have to be."""
    with pytest.raises(ValueError, match=r"grid is 2x6 cells, .* visual_embedding.pos_num to 6"):
        train("nlvr2", "model_config.clipvil.visual_embedding.pos_num=5")


def test_what_does_not_suit_a_pair(train):
    with pytest.raises(ConfigError, match=r"nlvr2\.image_transform: fit_pad gives the 2 images"):
        train("nlvr2", "dataset_config.nlvr2.image_transform=fit_pad")


# Method -> learning rate, that of the tower; the published values of SNLI-VE.
RATES = {"full": (5e-5, 1e-3), **dict.fromkeys(("ladder", "lora", "adapter"), (5e-4, 1e-3))}
TUNED = ("unipt", "sherl", "ladder", "lora", "adapter", "compacter", "low_rank_adapter")


def read_yaml(name):
    """A yaml file with those that it includes."""
    from mmf.utils.configuration import load_yaml

    return load_yaml(str(CONFIGS / name))


@pytest.mark.parametrize("dataset", ["snli_ve", "nlvr2"])
def test_the_recipes(dataset):
    for method in ("full", *TUNED):
        suffix = "" if method == "full" else f"_{method}"
        settings = read_yaml(f"{dataset}{suffix}.yaml")
        training, optimizer = settings.training, settings.optimizer
        assert settings.dataset == dataset and method in METHODS
        assert settings.model_config.clipvil.get("tuning", {"method": "full"})["method"] == method
        assert settings.env.save_dir == f"./save/{dataset}{suffix}"
        assert (training.batch_size, training.update_frequency) == (32, 8)
        assert list(settings.evaluation.metrics) == ["accuracy"]
        assert training.early_stop.criteria == f"{dataset}/accuracy"
        (loss,) = settings.model_config.clipvil.losses
        assert loss.type == "clipvil_cross_entropy"
        assert loss.params.loss_scale == {"snli_ve": 1, "nlvr2": 2}[dataset]
        if dataset == "nlvr2":
            assert settings.model_config.clipvil.visual_embedding.pos_num == 40
            continue
        assert training.max_epochs == 2 and list(settings.scheduler.params.milestones) == [1]
        assert settings.scheduler.params.warmup_ratio == 0.05
        rates = RATES.get(method, (5e-4, 1e-3))
        assert (optimizer.params.lr, optimizer.groups.tower.lr) == rates


def test_the_yaml_of_two_passes_builds_lxmerts_head():
    settings = read_yaml("nlvr2_two_passes.yaml")
    params = OmegaConf.to_container(settings.model_config.clipvil.classifier.params)
    assert settings.dataset_config.nlvr2.task.params.pairing == "two_passes"
    sections = {
        "image_encoder": {"type": "clip_grid"},
        "fusion": {"type": "joint", "params": {"vocab_size": 30522}},
        "classifier": {"type": "mlp", "params": params},
    }
    with torch.device("meta"):
        network = ClipVilNetwork.from_config(**sections, num_labels=2, passes=2)
    shapes = {name: tuple(value.shape) for name, value in network.classifier.state_dict().items()}
    assert shapes["hidden.weight"] == (1536, 1536) and shapes["output.weight"] == (2, 1536)
