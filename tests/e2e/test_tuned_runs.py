"""What a tuned run leaves: what is trainable; it goes on, it predicts, becomes one model."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

import clipvil_mmf
from clipvil_mmf.checkpoints import CheckpointError
from clipvil_mmf.checkpoints.tuned import TUNED, merge, read_extra, trainable_names
from clipvil_mmf.model import ClipVil
from clipvil_mmf.tuning import METHODS
from tests.e2e.test_vqa_files import FIXTURES, TINY_MODEL, options

FOLDER = "projects/clipvil/configs"
TINY = (
    f"config={FOLDER}/vqa2_tiny.yaml",
    "training.tensorboard=false",
    "training.checkpoint_interval=2",
    "training.evaluation_interval=100",
    "training.log_interval=2",
)
FISHER = (
    "model_config.clipvil.tuning.params.initialization=fisher",
    "model_config.clipvil.tuning.params.fisher_samples=20",
)
PARAMS = {
    "ladder": ["reduction_factor=2"],
    "adapter": ["visual=true", "gate=true"],
    "compacter": ["reduction_factor=8"],
}
INSIDE = ("lora", "adapter", "compacter", "low_rank_adapter")


def tiny(folder, *opts, updates=4):
    return (
        *TINY,
        f"env.save_dir={folder}",
        "training.max_epochs=null",
        f"training.max_updates={updates}",
        *opts,
    )


def by(method):
    section = "model_config.clipvil.tuning"
    params = [f"{section}.params.{param}" for param in PARAMS.get(method, [])]
    return (f"{section}.method={method}", *params)


@pytest.fixture(scope="module")
def backbones(tmp_path_factory):
    return tmp_path_factory.mktemp("backbones")


@pytest.fixture
def backbone(backbones, run_mmf):
    """A trained backbone, made once."""
    folder = backbones / "first"
    if not folder.exists():
        run_mmf(*tiny(folder, updates=2))
    return folder


def network_of(trainer):
    return trainer.model.network


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"full"}))
def test_a_tuned_run_and_its_merge(method, tmp_path, run_mmf, backbone):
    start = f"model_config.clipvil.pretrained={backbone}"
    trainer = run_mmf(*tiny(tmp_path / "run", start, *by(method)))
    network = network_of(trainer)
    trained = {f"network.{name}" for name in trainable_names(network)}
    assert 0 < len(trained) < len(network.state_dict())

    file = tmp_path / "run" / TUNED
    assert load_file(file).keys() == trained
    extra = read_extra(file)
    assert extra["backbone"]["name"] == str(backbone)
    for name in ("best.ckpt", "current.ckpt"):
        saved = torch.load(tmp_path / "run" / name, weights_only=True)["model"]
        assert saved.keys() == trained | {"_extra_state"}

    report = merge(tmp_path / "run", tmp_path / "merged")
    assert report.method == method and report.trained == len(trained)
    model = clipvil_mmf.from_pretrained(tmp_path / "merged")
    with torch.no_grad():
        batch = {
            "images": torch.rand(2, 3, 64, 96),
            "image_index": torch.tensor([0, 1, 1]),
            "input_ids": torch.randint(5, 90, (3, 20)),
            "input_mask": torch.ones(3, 20, dtype=torch.long),
            "segment_ids": torch.zeros(3, 20, dtype=torch.long),
        }
        network.eval()
        torch.testing.assert_close(
            model.network(**batch).scores, network(**batch).scores, atol=1e-5, rtol=1e-5
        )
    # The run itself is as good: its configuration names the backbone.
    direct = clipvil_mmf.from_pretrained(tmp_path / "run")
    merged = model.network.state_dict()
    assert direct.network.state_dict().keys() == merged.keys()
    for name, value in direct.network.state_dict().items():
        assert torch.equal(value, merged[name]), name
    stays = method not in ("frozen", "bitfit", "lora")
    assert report.merged_method == (method if stays else "full")
    for path in (tmp_path / "merged", tmp_path / "merged" / "model.safetensors"):
        with pytest.raises(CheckpointError, match="stands alone already"):
            merge(path, tmp_path / "again")


@pytest.mark.parametrize("key", ["pretrained", "image_encoder.params.pretrained"])
def test_what_no_file_gives_is_in_the_checkpoints(key, tmp_path, run_mmf, backbone):
    """Of a run that starts from a CLIP tower alone: random frozen parts are saved, too."""
    saved = torch.load(backbone / "best.ckpt", weights_only=True)["model"]
    prefix = "network.image_encoder.tower."
    tower = {k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)}
    torch.save({f"visual.{name}": value for name, value in tower.items()}, tmp_path / "clip.pt")
    opts = (f"model_config.clipvil.{key}={tmp_path / 'clip.pt'}", *by("unipt"))
    opts += ("model_config.clipvil.image_encoder.params.batch_norm=eval",)
    trainer = run_mmf(*tiny(tmp_path / "run", *opts, updates=2))
    network = network_of(trainer)
    given = {f"network.image_encoder.tower.{name}" for name in tower}
    expected = {f"network.{name}" for name in network.state_dict()} - given
    assert load_file(tmp_path / "run" / TUNED).keys() == expected
    seeded = (*opts, "training.seed=7", "checkpoint.resume=true")
    resumed = network_of(run_mmf(*tiny(tmp_path / "run", *seeded, updates=2), load_only=True))
    merge(tmp_path / "run", tmp_path / "merged")
    merged = clipvil_mmf.from_pretrained(tmp_path / "merged").network.state_dict()
    for name, value in network.state_dict().items():
        assert torch.equal(value, merged[name]), name
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize("method", ["unipt", "ladder"])
def test_a_tuned_run_goes_on_bit_for_bit(method, tmp_path, run_mmf, backbone):
    opts = (f"model_config.clipvil.pretrained={backbone}", *by(method))
    opts += FISHER if method == "ladder" else ()
    whole = run_mmf(*tiny(tmp_path / "whole", *opts))
    halfway = tmp_path / "halves"
    run_mmf(*tiny(halfway, *opts, updates=2), "scheduler.params.num_training_steps=4")
    resumed = run_mmf(*tiny(halfway, *opts), "checkpoint.resume=true")
    assert resumed.num_updates == 4
    states = [
        torch.load(folder / "current.ckpt", weights_only=True)["model"]
        for folder in (tmp_path / "whole", halfway)
    ]
    assert states[0].keys() == states[1].keys()
    trained = trainable_names(network_of(whole))
    for name in trained:
        assert torch.equal(*(state[f"network.{name}"] for state in states)), name
    start = torch.load(backbone / "best.ckpt", weights_only=True)["model"]
    for name, value in network_of(whole).state_dict().items():
        assert name in trained or torch.equal(value, start[f"network.{name}"]), name


def test_a_ladder_begins_from_the_train_split(tmp_path, run_mmf, backbone):
    still = ("optimizer.params.lr=0", "optimizer.params.weight_decay=0", "training.num_workers=1")
    opts = (f"model_config.clipvil.pretrained={backbone}", *by("ladder"), *still)
    network = network_of(run_mmf(*tiny(tmp_path / "run", *opts, *FISHER, updates=2)))
    pairs = zip(network.tuning.blocks, network.fusion.layers, strict=True)
    for narrow, wide in pairs:
        begun = narrow.attention.value.bias.tolist()
        assert begun and set(begun) <= set(wide.attention.value.bias.tolist())
    # What was trained is not begun anew, though its updates are counted from zero.
    taken = f"checkpoint.resume_file={tmp_path / 'run' / TUNED}"
    fewer = "model_config.clipvil.tuning.params.fisher_samples=1"
    other = network_of(run_mmf(*tiny(tmp_path / "next", *opts, *FISHER, fewer, taken, updates=2)))
    for name, value in network.tuning.state_dict().items():
        assert torch.equal(value, other.tuning.state_dict()[name]), name


@pytest.mark.parametrize("workers", [0, 2])
def test_a_look_at_the_train_split_leaves_the_run_as_it_is(
    workers, tmp_path, run_mmf, backbone, monkeypatch
):
    start = f"model_config.clipvil.pretrained={backbone}"
    opts = (start, *by("unipt"), f"training.num_workers={workers}")
    expected = network_of(run_mmf(*tiny(tmp_path / "plain", *opts)))
    looked = []

    def look(model, batches):
        torch.rand(1)
        looked.extend(next(batches) for _ in range(2))

    monkeypatch.setattr(ClipVil, "before_training", look)
    network = network_of(run_mmf(*tiny(tmp_path / "looked", *opts)))
    assert len(looked) == 2 and "targets" in looked[0]
    for name, value in expected.state_dict().items():
        assert torch.equal(value, network.state_dict()[name]), name


def test_another_backbone_is_refused(tmp_path, run_mmf, backbone):
    opts = (f"model_config.clipvil.pretrained={backbone}", *by("unipt"))
    run_mmf(*tiny(tmp_path / "run", *opts))
    other = (f"checkpoint.resume_file={tmp_path / 'run' / TUNED}", *by("unipt"))
    with pytest.raises(CheckpointError, match=r"tuned beside another backbone.*pretrained=FILE"):
        run_mmf(*tiny(tmp_path / "other", *other))
    with pytest.raises(CheckpointError, match="what another tuning method has trained"):
        run_mmf(*tiny(tmp_path / "other", other[0], *by("sherl")))
    factor = "model_config.clipvil.tuning.params.reduction_factor=4"
    with pytest.raises(CheckpointError, match="names or shapes differ"):
        run_mmf(*tiny(tmp_path / "other", *other, factor))
    with pytest.raises(CheckpointError, match="clipvil merge"):
        start = f"model_config.clipvil.pretrained={tmp_path / 'run'}"
        run_mmf(*tiny(tmp_path / "other", start, *by("unipt")))


def test_the_backbone_of_a_tuned_run_is_named_in_python(tmp_path, run_mmf, backbone):
    """Where it has moved; another one is refused."""
    first = tmp_path / "first"
    shutil.copytree(backbone, first)
    run_mmf(*tiny(tmp_path / "run", f"model_config.clipvil.pretrained={first}", *by("bitfit")))
    first.rename(tmp_path / "moved")
    message = r"backbone whose file .*first does not exist here.*backbone=FILE in Python"
    with pytest.raises(CheckpointError, match=message):
        clipvil_mmf.from_pretrained(tmp_path / "run")
    found = clipvil_mmf.from_pretrained(tmp_path / "run", backbone=tmp_path / "moved")
    assert "bitfit" not in str(found.description.network["tuning"])
    run_mmf(*tiny(tmp_path / "other", updates=1))
    with pytest.raises(CheckpointError, match=r"beside another backbone.*backbone=FILE in Python"):
        clipvil_mmf.from_pretrained(tmp_path / "run", backbone=tmp_path / "other")
    words = "dataset_config.vqa2.processors.text_processor.params.vocab=train"
    run_mmf(*tiny(tmp_path / "words", words, updates=1))
    with pytest.raises(CheckpointError, match=r"words is not the backbone of .*backbone=FILE in P"):
        clipvil_mmf.from_pretrained(tmp_path / "run", backbone=tmp_path / "words")
    with pytest.raises(CheckpointError, match=r"moved is whole: it takes no backbone"):
        clipvil_mmf.from_pretrained(tmp_path / "moved", backbone=tmp_path / "other")


def test_tuned_weights_are_resumed_from_safetensors(tmp_path, run_mmf, backbone):
    opts = (f"model_config.clipvil.pretrained={backbone}", *by("sherl"))
    first = run_mmf(*tiny(tmp_path / "run", *opts))
    again = run_mmf(
        *tiny(tmp_path / "again", *opts),
        f"checkpoint.resume_file={tmp_path / 'run' / TUNED}",
        "run_type=val",
    )
    for name, value in network_of(first).state_dict().items():
        assert torch.equal(value, network_of(again).state_dict()[name]), name


@pytest.mark.parametrize(
    ("yaml", "method", "rate", "milestone"),
    [
        *((f"vqa2_{m}", m, 5e-4, 2) for m in ("unipt", "sherl", "ladder", *INSIDE)),
        *((f"gqa_{m}", m, 1e-4, 3) for m in ("unipt", "sherl", "ladder")),
        *((f"gqa_{m}", m, 5e-4, 3) for m in INSIDE),
    ],
)
def test_the_published_recipes_of_tuning(yaml, method, rate, milestone, tmp_path, run_mmf):
    dataset = yaml.split("_")[0]
    stores = f"dataset_config.{dataset}.store_dir={tmp_path / 'stores'}"
    lora = ["model_config.clipvil.tuning.params.dim=4"] if method == "lora" else []
    wide = [option.replace("hidden_size=32", "hidden_size=64") for option in TINY_MODEL]
    opts = options(f"{yaml}.yaml", dataset, FIXTURES, stores, *lora, model=wide)
    trainer = run_mmf(*opts, "training.max_updates=1")
    groups = {group["name"]: group for group in trainer.optimizer.param_groups}
    assert set(groups) == {"decay", "no_decay"}  # the tower is frozen
    assert groups["decay"]["initial_lr"] == rate
    assert trainer.config.scheduler.params.milestones == [milestone]
    assert trainer.config.scheduler.params.warmup_ratio == 0.05
    assert trainer.config.model_config.clipvil.tuning.method == method
    assert trainer.run_length.leftover_batches == "carry"
    assert (tmp_path / "save" / TUNED).is_file()
