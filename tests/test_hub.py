"""from_pretrained: an image and a question give answers, in a process without MMF."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn

import clipvil_mmf
from clipvil_mmf.checkpoints import CheckpointError
from clipvil_mmf.checkpoints.native import read_saved, write_saved
from clipvil_mmf.checkpoints.published.convert import import_checkpoint
from clipvil_mmf.config import ConfigError
from clipvil_mmf.data.images import BadImageError
from clipvil_mmf.fusion import FUSIONS, JointConfig, JointFusion
from clipvil_mmf.hub import Answerer
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.vision import IMAGE_ENCODERS, ImageEncoder
from tests.checkpoints.conftest import HEADS, publish  # noqa: F401 (a fixture)
from tests.golden import tuned
from tests.golden.compare import GOLDEN, TINY, inputs, load_golden, load_tiny

SENTENCES = (
    "What color is the man's umbrella?",
    "  Is the dog ON the red couch in the kitchen?  ",
    "How many people are standing next to the very big unaffable looking green tree that is near "
    "to the old house?",
)
VOCABULARY = json.loads((GOLDEN / "data_side.json").read_text())["vocab"]
ANSWERS = [f"answer {row}" for row in range(13)]


@dataclass
class PlainConfig:
    """Nothing to set."""


@dataclass
class NarrowConfig(JointConfig):
    """Small defaults."""

    hidden_size: int = 24
    num_hidden_layers: int = 1


class PlainEncoder(ImageEncoder):
    """One convolution."""

    out_channels = 8

    def __init__(self, config: PlainConfig) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 32, stride=32)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.conv(images)


@pytest.fixture
def imported(tmp_path: Path, publish) -> Path:  # noqa: F811
    (tmp_path / "answers.json").write_text(json.dumps(ANSWERS))
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY))
    import_checkpoint(
        publish("clipvil_full"),
        tmp_path / "model",
        config=HEADS,
        answers=tmp_path / "answers.json",
        vocabulary=tmp_path / "vocab.txt",
    )
    return tmp_path / "model"


@pytest.fixture
def model(imported: Path) -> Answerer:
    return clipvil_mmf.from_pretrained(imported)


def picture(width: int, height: int) -> Image.Image:
    gradient = Image.linear_gradient("L").resize((width, height))
    return Image.merge("RGB", (gradient, gradient.rotate(90), gradient.rotate(180)))


LANDSCAPE, PORTRAIT = picture(64, 48), picture(48, 64)


def test_the_network_is_the_published_one(model: Answerer) -> None:
    """The golden scores come out of the imported weights, and the tokenizer gives their ids."""
    _, golden = load_tiny()
    batch = inputs(golden)
    with torch.no_grad():
        scores = model.network(**batch).scores
    assert torch.allclose(scores, torch.from_numpy(golden["eval/logits"]), atol=2e-5)
    ids, lengths = model._tokenizer(SENTENCES)
    assert ids.tolist() == batch["input_ids"].tolist()
    assert lengths.tolist() == batch["input_mask"].sum(1).tolist()


def test_a_compiled_network_gives_the_same_answers(model: Answerer, imported: Path) -> None:
    torch._dynamo.reset()
    counted = torch._dynamo.utils.counters["stats"]
    counted.clear()
    compiled = clipvil_mmf.from_pretrained(imported, compile={"backend": "aot_eager"})
    asked = [LANDSCAPE, LANDSCAPE], [0, 1, 1], SENTENCES
    torch.testing.assert_close(compiled.scores(*asked), model.scores(*asked))
    assert counted["unique_graphs"] == 2  # the network's, and the sum that is tried first
    torch._dynamo.reset()


def test_how_it_is_compiled_is_checked_first(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^compile\.backnd: unknown\. Did you mean backend\?"):
        clipvil_mmf.from_pretrained(tmp_path, compile={"backnd": "eager"})


@pytest.mark.parametrize("name", tuned.SECTIONS)
def test_published_tuned_networks(publish, tmp_path: Path, name: str) -> None:  # noqa: F811
    """The recorded scores come out of an imported checkpoint of each method."""
    (tmp_path / "answers.json").write_text(json.dumps(ANSWERS))
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY))
    files = {"answers": tmp_path / "answers.json", "vocabulary": tmp_path / "vocab.txt"}
    import_checkpoint(publish(name), tmp_path / "model", config=HEADS, **files)
    model = clipvil_mmf.from_pretrained(tmp_path / "model")
    golden = load_golden(name)
    with torch.no_grad():
        scores = model.network(**inputs(golden)).scores
    assert torch.allclose(scores, torch.from_numpy(golden["eval/logits"]), atol=2e-5)
    assert len(model.answer(LANDSCAPE, SENTENCES[0])) == 5


SHORT = {"type": "joint", "params": {"hidden_size": 96, "num_hidden_layers": 1}}
UNIPT = {"method": "unipt", "params": {"reduction_factor": 2}}


@pytest.mark.parametrize(
    ("section", "trained", "written"),
    [
        ("image_encoder", {"type": "plain"}, {"type": "plain", "params": None}),
        ("fusion", {"type": "narrow"}, {"type": "narrow", "params": None}),
        ("fusion", SHORT, SHORT),  # 12 attention heads, which are not in the shapes
        ("classifier", {"type": "mlp"}, {"type": "mlp", "params": None}),
        ("tuning", UNIPT, {**UNIPT, "params": None}),
        ("tuning", None, {"method": "full", "params": None}),
    ],
)
def test_a_run_whose_yaml_leaves_parameters_to_their_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str, trained: Any, written: Any
) -> None:
    """As docs/extending.md drops those of another encoder."""
    monkeypatch.setitem(IMAGE_ENCODERS, "plain", (PlainConfig, PlainEncoder))
    monkeypatch.setitem(FUSIONS, "narrow", (NarrowConfig, JointFusion))
    # The vocabulary's size is the data's, and null in a run's yaml.
    joint = {**TINY["fusion"]["params"], "vocab_size": None}
    sections = {**TINY, "fusion": {"type": "joint", "params": joint}, section: trained}
    fusion = sections["fusion"]
    params = {**fusion.get("params", {}), "vocab_size": len(VOCABULARY)}
    network = ClipVilNetwork.from_config(**{**sections, "fusion": {**fusion, "params": params}})
    network.eval()
    extra = {"answer": ANSWERS, "text": VOCABULARY}
    state = {f"network.{name}": value for name, value in network.state_dict().items()}
    torch.save({"model": {**state, "_extra_state": extra}}, tmp_path / "best.ckpt")
    del sections["num_labels"]
    config = {"model_config": {"clipvil": {**sections, section: written}}}
    config["dataset_config"] = {"clipvil_custom": {}}
    OmegaConf.save(OmegaConf.create(config), tmp_path / "config.yaml")
    model = clipvil_mmf.from_pretrained(tmp_path)
    batch = inputs(load_golden("clipvil_full"))
    with torch.no_grad():
        torch.testing.assert_close(model.network(**batch).scores, network(**batch).scores)


def test_one_question(model: Answerer) -> None:
    found = model.answer(LANDSCAPE, SENTENCES[0], top_k=3)
    scores = model.scores([LANDSCAPE], [0], [SENTENCES[0]])[0].sigmoid()
    assert [ANSWERS.index(answer) for answer, _ in found] == scores.topk(3).indices.tolist()
    assert [score for _, score in found] == pytest.approx(scores.topk(3).values.tolist())
    assert len(model.answer(LANDSCAPE, SENTENCES[0])) == 5
    assert len(model.answer(LANDSCAPE, SENTENCES[0], top_k=100)) == 13


def test_lists_give_what_each_question_gives_alone(model: Answerer, tmp_path: Path) -> None:
    """Landscape and portrait images have different canvases."""
    PORTRAIT.save(tmp_path / "portrait.png")
    images = [LANDSCAPE, tmp_path / "portrait.png", str(tmp_path / "portrait.png")]
    together = model.answer(images, SENTENCES, top_k=13)
    for found, image, question in zip(together, images, SENTENCES, strict=True):
        alone = model.answer(image, question, top_k=13)
        assert [a for a, _ in found] == [a for a, _ in alone]
        assert [s for _, s in found] == pytest.approx([s for _, s in alone], abs=1e-5)


def test_the_tower_runs_once_for_an_image(model: Answerer) -> None:
    seen = []
    model.network.image_encoder.register_forward_pre_hook(
        lambda module, inputs: seen.append(len(inputs[0]))
    )
    assert len(model.answer(LANDSCAPE, SENTENCES)) == 3
    assert seen == [1]
    other = LANDSCAPE.rotate(180)
    assert len(model.answer([LANDSCAPE, PORTRAIT, other, LANDSCAPE], SENTENCES[0])) == 4
    assert sorted(seen) == [1, 1, 2]


@pytest.mark.parametrize("dtype", [torch.bfloat16, "bfloat16", "bf16"])
def test_half_precision(imported: Path, model: Answerer, dtype: Any) -> None:
    half = clipvil_mmf.from_pretrained(imported, dtype=dtype)
    assert {p.dtype for p in half.network.parameters()} == {torch.bfloat16}
    a = model.scores([LANDSCAPE], [0], [SENTENCES[0]])
    b = half.scores([LANDSCAPE], [0], [SENTENCES[0]])
    assert torch.allclose(a, b, atol=0.15 * float(a.abs().max()))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "bfloat"}, "dtype: got 'bfloat', expected float32, bfloat16 or float16"),
        ({"dtype": torch.int8}, "dtype: got torch.int8"),
        ({"dtype": "float8_e4m3fn"}, "dtype: got 'float8_e4m3fn', expected float32"),
        ({"device": "gpu"}, "device: got 'gpu', expected cpu, cuda"),
        ({"device": "meta"}, "device: got 'meta', which this machine does not have"),
        ({"device": "hpu"}, "device: got 'hpu', which this machine does not have"),
        pytest.param(
            {"device": "cuda"},
            "device is cuda, but no GPU was found",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
    ],
)
def test_what_this_machine_or_torch_does_not_have(imported, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        clipvil_mmf.from_pretrained(imported, **options)


def test_what_it_is(imported: Path, model: Answerer) -> None:
    assert repr(model) == (
        f"Answerer({str(imported)!r}: vqa, 13 answers, 0.3 M parameters, float32 on cpu)"
    )


def test_saved_and_read_again(model: Answerer, tmp_path: Path) -> None:
    """Whole, also in half precision, and never over another model."""
    expected = model.answer(LANDSCAPE, SENTENCES[0], top_k=13)
    model.save_pretrained(tmp_path / "saved")
    again = clipvil_mmf.from_pretrained(tmp_path / "saved", dtype="bfloat16")
    same = clipvil_mmf.from_pretrained(tmp_path / "saved")
    assert same.answer(LANDSCAPE, SENTENCES[0], top_k=13) == expected
    again.save_pretrained(tmp_path / "half")
    weights = tmp_path / "saved" / "model.safetensors", tmp_path / "half" / "model.safetensors"
    assert weights[1].stat().st_size < 0.6 * weights[0].stat().st_size
    with pytest.raises(ValueError, match=r"saved exists: remove it, or name another folder\.$"):
        again.save_pretrained(tmp_path / "saved")


def test_a_vocabulary_that_is_not_at_hand(imported: Path, monkeypatch) -> None:
    """The error names no key of a yaml file."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    config = OmegaConf.load(imported / "config.yaml")
    config.text_vocabulary, config.text_tokens = "./nowhere/vocab.txt", None
    OmegaConf.save(config, imported / "config.yaml")
    (imported / "vocab.txt").unlink()
    with pytest.raises(CheckpointError, match=r"names its text vocabulary.*--vocab FILE") as raised:
        clipvil_mmf.from_pretrained(imported)
    assert "processors" not in str(raised.value)


def test_bad_questions(model: Answerer, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 images and 3 questions"):
        model.answer([LANDSCAPE, PORTRAIT], SENTENCES)
    with pytest.raises(ValueError, match="0 images and 1 questions"):
        model.answer([], SENTENCES[0])
    with pytest.raises(ValueError, match="top_k: got 0"):
        model.answer(LANDSCAPE, SENTENCES[0], top_k=0)
    with pytest.raises(BadImageError, match=r"gone\.jpg does not exist"):
        model.answer(tmp_path / "gone.jpg", SENTENCES[0])


def test_what_cannot_answer(imported: Path, publish, tmp_path: Path) -> None:  # noqa: F811
    publish("unipt")
    import_checkpoint(publish("lxmert"), tmp_path / "lxmert", config=HEADS)
    with pytest.raises(CheckpointError, match=r"has no answers\.json.*--answers"):
        clipvil_mmf.from_pretrained(tmp_path / "lxmert")
    (tmp_path / "lxmert" / "answers.json").write_text(json.dumps(ANSWERS))
    with pytest.raises(CheckpointError, match=r"takes features from files \(region_features"):
        clipvil_mmf.from_pretrained(tmp_path / "lxmert")
    with pytest.raises(CheckpointError, match=r"BEST\.pth: no such file or folder"):
        clipvil_mmf.from_pretrained(tmp_path / "BEST.pth")
    with pytest.raises(CheckpointError, match=r"imported first: clipvil import .*unipt\.pth"):
        clipvil_mmf.from_pretrained(tmp_path / "unipt.pth")
    (imported / "config.yaml").unlink()
    with pytest.raises(CheckpointError, match=r"config\.yaml is missing.*clipvil import"):
        clipvil_mmf.from_pretrained(imported)


@pytest.mark.parametrize("content", ["{", "layout: 3", "source: a\nlayout: {}\nnetwork: {}\nx: 1"])
def test_a_damaged_configuration(imported: Path, content: str) -> None:
    (imported / "config.yaml").write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.yaml does not describe"):
        clipvil_mmf.from_pretrained(imported)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fusion": None}, "network.fusion: got None, expected a mapping of keys"),
        ({"num_labels": "x"}, "network.num_labels: got 'x', expected a whole number"),
        ({"fusoin": {}}, "network.fusoin: unknown key. Did you mean 'fusion'?"),
    ],
)
def test_a_damaged_section(imported: Path, change: dict[str, Any], message: str) -> None:
    config = OmegaConf.load(imported / "config.yaml")
    config.network.update(change)
    OmegaConf.save(config, imported / "config.yaml")
    with pytest.raises(CheckpointError, match=re.escape(message)):
        clipvil_mmf.from_pretrained(imported)


@pytest.mark.parametrize("section", ["image_encoder", "fusion", "num_labels"])
def test_a_section_that_is_not_there(imported: Path, section: str) -> None:
    config = OmegaConf.load(imported / "config.yaml")
    del config.network[section]
    OmegaConf.save(config, imported / "config.yaml")
    with pytest.raises(CheckpointError, match=f"network.{section}: missing"):
        clipvil_mmf.from_pretrained(imported)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('["a", "b', "not valid JSON"),
        ('{"a": 0}', "expected a list of answers, got a dict"),
        ("[0, 1]", "has 0 in entry 0"),
        ('["a", "b"]', "has 2 answers, but the head of model.safetensors has a row for 13"),
    ],
)
def test_damaged_answers(imported: Path, content: str, message: str) -> None:
    (imported / "answers.json").write_text(content)
    with pytest.raises(CheckpointError, match=rf"answers\.json.*{message}"):
        clipvil_mmf.from_pretrained(imported)


def test_a_changed_text_vocabulary(imported: Path, tmp_path: Path) -> None:
    """Also beside embeddings with spare rows, as a merged model may have them."""
    spare = read_saved(imported)
    spare.tokens = spare.tokens[:-3]
    write_saved(spare, tmp_path / "spare")
    clipvil_mmf.from_pretrained(tmp_path / "spare")
    for folder, count in ((imported, 200), (tmp_path / "spare", 197)):
        file = folder / "vocab.txt"
        lines = file.read_text().splitlines()
        for changed in (lines[:-1], [*lines, "more"]):
            file.write_text("\n".join(changed))
            message = rf"vocab\.txt has {len(changed)} lines, but .* {count} word pieces"
            with pytest.raises(CheckpointError, match=message):
                clipvil_mmf.from_pretrained(folder)
    (imported / "vocab.txt").unlink()
    with pytest.raises(CheckpointError, match=r"vocab\.txt is missing, the text vocabulary"):
        clipvil_mmf.from_pretrained(imported)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [b", "config.yaml cannot be read as yaml"),
        ("- a", "config.yaml is a list"),
        ("model_config: {clipvil: {fusion: joint}}", "clipvil.fusion: got 'joint', expected a map"),
        ("model_config: {clipvil: {fusion: '${gone}'}}", "model_config.clipvil cannot be resolved"),
    ],
)
def test_a_damaged_configuration_of_a_run(tmp_path: Path, content: str, message: str) -> None:
    extra = {"answer": ANSWERS, "text": VOCABULARY}
    state = {"network.a": torch.zeros(1), "_extra_state": extra}
    torch.save(state, tmp_path / "clipvil_final.pth")
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(CheckpointError, match=re.escape(message)):
        clipvil_mmf.from_pretrained(tmp_path)


def test_a_run_without_the_section_of_its_dataset(tmp_path: Path) -> None:
    """Its images and its task are not taken for the published ones."""
    extra = {"answer": ANSWERS, "text": VOCABULARY}
    state = {"network.a": torch.zeros(1), "_extra_state": extra}
    torch.save(state, tmp_path / "clipvil_final.pth")
    config = {"model_config": {"clipvil": TINY}, "dataset": "vqa2", "dataset_config": {"gqa": {}}}
    OmegaConf.save(OmegaConf.create(config), tmp_path / "config.yaml")
    with pytest.raises(CheckpointError, match=r"lacks the section dataset_config\.<dataset>"):
        clipvil_mmf.from_pretrained(tmp_path)


def test_a_configuration_of_another_network(imported: Path) -> None:
    file = imported / "config.yaml"
    file.write_text(file.read_text().replace("num_hidden_layers: 3", "num_hidden_layers: 2"))
    message = r"(?s)weights does not fit the network.*unknown.*fusion\.layers\.2"
    with pytest.raises(CheckpointError, match=message):
        clipvil_mmf.from_pretrained(imported)


def test_without_mmf(imported: Path, tmp_path: Path) -> None:
    LANDSCAPE.save(tmp_path / "a.png")
    code = (
        "import sys, clipvil_mmf\n"
        f"model = clipvil_mmf.from_pretrained({str(imported)!r})\n"
        f"print(model.answer({str(tmp_path / 'a.png')!r}, 'what color?', top_k=1)[0][0])\n"
        "assert not [name for name in sys.modules if name.split('.')[0] == 'mmf']\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ANSWERS


def test_weights_that_are_not_floating_point(imported: Path, tmp_path: Path) -> None:
    shutil.copytree(imported, tmp_path / "copy")
    file = tmp_path / "copy" / "model.safetensors"
    save_file({name: tensor.int() for name, tensor in load_file(file).items()}, file)
    with pytest.raises(CheckpointError, match=r"as torch.int32; expected floating point"):
        clipvil_mmf.from_pretrained(tmp_path / "copy")


def test_weights_that_are_not_finite(imported: Path) -> None:
    file = imported / "model.safetensors"
    weights = load_file(file)
    name = next(name for name in weights if name.startswith("classifier"))
    weights[name][0] = float("nan")
    save_file(weights, file)
    with pytest.raises(CheckpointError, match=rf"model: {name} of the weights hold NaN or inf"):
        clipvil_mmf.from_pretrained(imported)


def test_a_length_without_room(imported: Path, tmp_path: Path) -> None:
    shutil.copytree(imported, tmp_path / "copy")
    file = tmp_path / "copy" / "config.yaml"
    file.write_text(re.sub(r"max_seq_length: \d+", "max_seq_length: 0", file.read_text()))
    with pytest.raises(ConfigError, match="max_seq_length: got 0, expected at least 2"):
        clipvil_mmf.from_pretrained(tmp_path / "copy")
