"""Models as ONNX: onnxruntime gives what torch gives, and the folder answers without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from torch import Tensor
from typer.testing import CliRunner

from clipvil_mmf.cli.main import app
from clipvil_mmf.deploying import onnx_folder, standalone
from clipvil_mmf.deploying.onnx_folder import INT8, Exported, export_onnx
from clipvil_mmf.deploying.onnx_graph import ExportError
from clipvil_mmf.tuning import METHODS
from tests.deploying.models import FIT_PAD, PHOTOS, QUESTIONS, STRETCH, shown, small_model

for _package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(_package)

KINDS = {
    "resnet": FIT_PAD,
    "vit": FIT_PAD,
    "vilt": FIT_PAD,
    "lxmert": STRETCH,
    "frugal": STRETCH,
    "pair": STRETCH,
    "two passes": STRETCH,
    **{method: STRETCH for method in METHODS if method != "full"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model(kind: str, tmp_path: Path) -> None:
    """Landscape and portrait, one image with several questions, questions of any length."""
    model = small_model(kind, KINDS[kind])
    found = export_onnx(model, tmp_path / "out")
    assert found.checked == 3 * (1 + (KINDS[kind] is FIT_PAD))
    assert found.scores < 1e-5 and found.probabilities < 1e-5
    other = standalone.Model(tmp_path / "out", threads=1)
    # Of bf16 the graph is more exact than the run.
    within = 0.05 if kind == "frugal" else 1e-5
    for photo in PHOTOS:
        expected = model.answer([shown(model, photo)] * 3, QUESTIONS, top_k=2)
        answers = other.answer(shown(model, photo), QUESTIONS, top_k=2)
        for ours, theirs in zip(expected, answers, strict=True):
            assert [part for _, part in ours] == pytest.approx([p for _, p in theirs], abs=within)
            if kind != "frugal":
                assert [label for label, _ in ours] == [label for label, _ in theirs]


def test_int8_is_smaller_and_close(tmp_path: Path) -> None:
    model = small_model()
    whole = export_onnx(model, tmp_path / "fp32")
    coarse = export_onnx(model, tmp_path / "int8", INT8)
    assert coarse.size < 0.8 * whole.size
    assert whole.probabilities < 1e-5 < coarse.probabilities < 0.1
    assert json.loads((tmp_path / "int8" / "config.json").read_text())["precision"] == INT8
    assert not [file for file in (tmp_path / "int8").iterdir() if "quantized" in file.name]


WITHOUT_TORCH = """
import runpy, sys
for name in ("torch", "clipvil_mmf", "mmf", "torchvision"):
    sys.modules[name] = None
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_the_folder_answers_without_torch(imported: Path, model, tmp_path: Path) -> None:
    """From the command to the answers of another process."""
    folder = tmp_path / "onnx"
    options = ["--format", "onnx", "--output", str(folder)]
    done = CliRunner().invoke(app, ["export", str(imported), *options])
    assert done.exit_code == 0, done.output
    assert "model.onnx (fp32, " in done.output and "6 random batches" in done.output
    names = ["answer.py", "answers.json", "config.json", "model.onnx", "tokenizer.json"]
    assert sorted(file.name for file in folder.iterdir()) == names
    PHOTOS[1].save(tmp_path / "photo.png")
    asked = [str(tmp_path / "photo.png"), *QUESTIONS]
    command = [sys.executable, "-c", WITHOUT_TORCH, str(folder / "answer.py"), *asked]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = model.answer(PHOTOS[1], QUESTIONS, top_k=1)
    lines = [f"{q} {a} ({100 * p:.0f}%)" for q, [(a, p)] in zip(QUESTIONS, expected, strict=True)]
    assert done.stdout.splitlines() == lines


def test_a_graph_that_deviates_is_not_written(tmp_path: Path, monkeypatch) -> None:
    wrong = Exported(1, 0.5, float("nan"), 3)
    monkeypatch.setattr(onnx_folder, "compare", lambda *given: wrong)
    with pytest.raises(ExportError, match=r"by 0\.5 in a score, more than 0\.0001; nothing was"):
        export_onnx(small_model(), tmp_path / "out")
    wrong.scores = 0
    with pytest.raises(ExportError, match=r"by nan in a probability, more than 0\.25"):
        export_onnx(small_model(), tmp_path / "out", INT8)
    assert not list(tmp_path.iterdir())


def test_a_part_without_counterpart(tmp_path: Path) -> None:
    """One message for what the exporter says on pages."""

    def forward(tokens: Tensor) -> Tensor:
        return tokens * int(tokens.sum())

    model = small_model()
    model.network.classifier.register_forward_hook(lambda module, given, out: forward(out))
    with pytest.raises(ExportError, match=r"^resnet cannot be exported to ONNX: .{10,400}$"):
        export_onnx(model, tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_sizes_are_not_a_part_of_the_graph(tmp_path: Path) -> None:
    """As many images and questions as one likes."""
    export_onnx(small_model(), tmp_path / "out")
    session = standalone.start(tmp_path / "out" / "model.onnx", 1)
    free = [[size for size in one.shape if isinstance(size, str)] for one in session.get_inputs()]
    assert [len(sizes) for sizes in free] == [1, 1, 2, 2]
    assert [one.name for one in session.get_outputs()] == ["scores", "probabilities"]
