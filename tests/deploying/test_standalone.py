"""What an exported folder computes without torch is what the model computes; no ONNX needed."""

from __future__ import annotations

import ast
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer
from typer.testing import CliRunner

from clipvil_mmf.cli.main import app
from clipvil_mmf.data.images import ImageParams
from clipvil_mmf.deploying import standalone
from clipvil_mmf.deploying.onnx_folder import write_beside
from clipvil_mmf.deploying.onnx_graph import Graph, canvases, exportable, program, random_inputs
from tests.deploying.models import FIT_PAD, PHOTOS, QUESTIONS, STRETCH, shown, small_model
from tests.docs.blocks import blocks

SIZES = [(64, 48), (48, 64), (50, 50), (640, 639), (300, 40), (40, 300), (1, 1), (97, 65)]


class Session:
    """Stands for onnxruntime's: computes in torch what the graph would."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def run(self, names: list[str], given: dict[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs of these names."""
        assert names == ["probabilities"]
        with torch.no_grad():
            tensors = {name: torch.from_numpy(array) for name, array in given.items()}
            return [self._graph(**tensors)[1].numpy()]


def folder_of(kind: str, images: dict[str, Any], folder: Path, monkeypatch: Any) -> Any:
    """A model, and the standalone one of its folder, whose graph torch computes."""
    model = small_model(kind, images)
    params = ImageParams(**images)
    write_beside(model, params, folder, "fp32")
    graph = Graph(model, params)
    monkeypatch.setattr(standalone, "start", lambda path, threads: Session(graph))
    return model, standalone.Model(folder)


@pytest.mark.parametrize(
    ("kind", "images"),
    [("resnet", FIT_PAD), ("vit", STRETCH), ("pair", STRETCH), ("two passes", STRETCH)],
)
def test_the_same_answers(kind, images, tmp_path: Path, monkeypatch) -> None:
    model, other = folder_of(kind, images, tmp_path, monkeypatch)
    for photo in PHOTOS:
        expected = model.answer([shown(model, photo)] * 3, QUESTIONS, top_k=3)
        found = other.answer(shown(model, photo), QUESTIONS, top_k=3)
        for ours, theirs in zip(expected, found, strict=True):
            assert [label for label, _ in ours] == [label for label, _ in theirs]
            assert [part for _, part in ours] == pytest.approx([part for _, part in theirs])


@pytest.mark.parametrize("images", [FIT_PAD, STRETCH, {**STRETCH, "exif_rotation": "apply"}])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_the_same_pixels(images, mode: str, tmp_path: Path, monkeypatch) -> None:
    model, other = folder_of("resnet", images, tmp_path, monkeypatch)
    for number, size in enumerate(SIZES):
        image = Image.effect_noise(size, 90).convert(mode)
        tags = Image.Exif()
        tags[274] = number % 8 + 1
        image.save(tmp_path / "one.png", exif=tags)
        (expected,) = model._read((tmp_path / "one.png",))
        assert np.array_equal(other.pixels(tmp_path / "one.png"), expected), size


def test_the_snippet_of_the_page(tmp_path: Path, monkeypatch, capsys) -> None:
    """With torch in the place of onnxruntime."""
    (text,) = [block.text for block in blocks("python") if "import answer" in block.text]
    folder = tmp_path / "save" / "easy_vqa_onnx"
    folder.mkdir(parents=True)
    model, _ = folder_of("resnet", STRETCH, folder, monkeypatch)
    runtime = SimpleNamespace(
        SessionOptions=SimpleNamespace,
        InferenceSession=lambda *_, providers: Session(Graph(model, ImageParams(**STRETCH))),
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    monkeypatch.delitem(sys.modules, "answer", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    PHOTOS[0].save("photo.jpg")
    exec(compile(text, "deployment.md", "exec"), {})
    questions = re.findall(r'"([^"]+\?)"', text)
    expected = model.answer("photo.jpg", questions, top_k=3)
    found = [ast.literal_eval(line) for line in capsys.readouterr().out.splitlines()]
    assert [[label for label, _ in one] for one in found] == [[a for a, _ in b] for b in expected]
    monkeypatch.delitem(sys.modules, "answer")


def test_what_it_does_not_take(tmp_path: Path, monkeypatch) -> None:
    _, other = folder_of("pair", STRETCH, tmp_path, monkeypatch)
    with pytest.raises(ValueError, match="got 1 images, expected 2"):
        other.answer(PHOTOS[0], QUESTIONS)
    with pytest.raises(ValueError, match="mode I;16; expected 8 bits"):
        other.pixels(Image.new("I;16", (9, 9)))
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "format": 2}))
    with pytest.raises(ValueError, match="has format 2, expected 1"):
        standalone.Model(tmp_path)


def test_the_same_word_pieces() -> None:
    model = small_model()
    ids, lengths = model._tokenizer(QUESTIONS)
    for row, one in enumerate(Tokenizer.from_str(model.tokenizer_json()).encode_batch(QUESTIONS)):
        count = int(lengths[row])
        assert one.ids[:count] == ids[row, :count].tolist()
        assert sum(one.attention_mask) == count


@pytest.mark.parametrize(("kind", "images"), [("vit", FIT_PAD), ("frugal", STRETCH)])
def test_a_program_of_free_sizes(kind: str, images: dict[str, Any]) -> None:
    """torch can export them, and leaves the model as it was."""
    model = small_model(kind, images)
    params = ImageParams(**images)
    encoder = model.network.image_encoder
    before = dict(vars(encoder.config)), "positions" in vars(encoder)
    graph = Graph(model, params).eval()
    exported = program(model, graph, params).module()
    for canvas in canvases(params, 1):
        given = random_inputs(model, canvas, images=1, questions=2, pieces=7)
        with torch.no_grad(), exportable(model, canvases(params, 1)):
            torch.testing.assert_close(exported(**given), graph(**given), atol=1e-5, rtol=1e-5)
    assert (vars(encoder.config), "positions" in vars(encoder)) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "onxx"], "--format: unknown value 'onxx'. Did you mean 'onnx'"),
        (["--quantize", "int8"], "--quantize is for --format onnx; leave it out"),
        (["--format", "onnx", "--ddp-prefix"], "--ddp-prefix is for --format published"),
        (["--format", "onnx", "--quantize", "int4"], "--quantize: unknown value 'int4'"),
        (["--format", "onnx", "--output", "."], "--output . exists: remove it"),
    ],
)
def test_options_that_do_not_fit(options: list[str], message: str) -> None:
    options = options if "--output" in options else [*options, "--output", "new"]
    done = CliRunner().invoke(app, ["export", "nowhere", *options])
    assert done.exit_code == 1 and message in done.output


def test_a_model_of_the_hub(monkeypatch) -> None:
    given = []

    def load(model: str, **_: Any) -> None:
        given.append(model)
        raise ValueError("no network")

    monkeypatch.setattr("clipvil_mmf.deploying.onnx_folder.check_packages", lambda: None)
    monkeypatch.setattr("clipvil_mmf.from_pretrained", load)
    done = CliRunner().invoke(app, ["export", "hf://me/vqa", "--format", "onnx", "--output", "new"])
    assert given == ["hf://me/vqa"], done.output


def test_packages_that_are_not_installed(monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = CliRunner().invoke(app, ["export", "nowhere", "--format", "onnx", "--output", "new"])
    assert done.exit_code == 1
    assert 'onnx, onnxscript, onnxruntime, which is not installed: pip install "clip' in done.output
