"""A folder that answers without torch: an ONNX graph, answers, word pieces, preprocessing."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clipvil_mmf.config import from_config
from clipvil_mmf.data.images import ImageParams
from clipvil_mmf.deploying import standalone
from clipvil_mmf.deploying.onnx_graph import (
    INPUTS,
    ExportError,
    Graph,
    canvases,
    exportable,
    joined_images,
    random_inputs,
    write_graph,
)
from clipvil_mmf.extras import check_extra
from clipvil_mmf.hub import Answerer
from clipvil_mmf.weight_files import new_folder

FP32, INT8 = "fp32", "int8"
# Largest deviation from torch: of fp32 in scores, as a part of the largest of them (or of 1); of
# int8 in probabilities, which catches a graph that is wrong, not one that is coarse.
TOLERANCES = {FP32: 1e-4, INT8: 0.25}
# Layers whose weights int8 rounds; convolutions in int8 are slower than in fp32 on most processors.
_QUANTIZED = ["MatMul", "Gemm"]
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


@dataclass
class Exported:
    """What an export has found."""

    size: int  # bytes of the graph
    scores: float  # largest absolute deviation of a score from torch's
    probabilities: float  # of a probability
    checked: int  # batches that were compared


def check_packages() -> None:
    """Raise ``ModuleNotFoundError`` unless what an export needs is installed."""
    check_extra("--format onnx", "onnx", {name: name for name in _PACKAGES})


def export_onnx(
    answerer: Answerer, folder: Path, precision: str = FP32, tolerance: float | None = None
) -> Exported:
    """Write a model into a new folder, which appears when it was compared with torch.

    Args:
        answerer: on the CPU, in float32.
        folder: gets ``model.onnx``, ``answers.json``, ``tokenizer.json``, ``config.json`` and
            ``answer.py``, see :mod:`clipvil_mmf.deploying.standalone`.
        precision: ``fp32``; or ``int8``, by onnxruntime's dynamic quantisation: weights of linear
            layers are stored as 8 bits, their inputs rounded to 8 bits as they come.
        tolerance: the largest deviation that is taken, see ``TOLERANCES``; None for those.

    Raises:
        ExportError: the model has a part that ONNX has no counterpart for, or the graph does not
            give what torch gives.
        WeightFileError: the folder exists, or could not be written.
    """
    images = from_config(ImageParams, answerer.description.images, f"{answerer.name}: images")
    with new_folder(folder) as partial:
        file = partial / standalone.GRAPH
        graph = write_graph(answerer, images, file)
        limits = dict(TOLERANCES)
        if tolerance is not None:
            limits[precision] = tolerance
        found = compare(answerer, graph, images, file)
        _refuse(answerer, found.scores, limits[FP32], "score")
        if precision == INT8:
            quantize(file)
            found = compare(answerer, graph, images, file)
            _refuse(answerer, found.probabilities, limits[INT8], "probability")
        write_beside(answerer, images, partial, precision)
    return found


def compare(answerer: Answerer, graph: Graph, images: ImageParams, file: Path) -> Exported:
    """Compare a graph in onnxruntime with torch, on each canvas and for several sizes of a batch.

    Scores are compared as parts of the largest of a batch, or of 1.
    """
    session = standalone.start(file)
    longest = answerer.description.max_seq_length
    size = sum(part.stat().st_size for part in file.parent.glob(f"{file.name}*"))
    found = Exported(size, 0, 0, 0)
    shown = canvases(images, joined_images(answerer))
    for canvas in shown:
        for sizes in ((1, 1, longest), (1, 3, max(2, longest // 2)), (2, 3, max(2, longest - 1))):
            given = random_inputs(answerer, canvas, *sizes)
            with exportable(answerer, shown), torch.inference_mode():
                expected = graph(**given)
            scores, probabilities = _run(session, given)
            scale = max(1.0, float(expected[0].abs().max()))
            found.scores = max(found.scores, _deviation(scores, expected[0]) / scale)
            found.probabilities = max(found.probabilities, _deviation(probabilities, expected[1]))
            found.checked += 1
    return found


def quantize(file: Path) -> None:
    """Make an fp32 graph one of int8, in its place.

    Weights get 7 bits: products of 8 bits overflow on processors without VNNI.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    coarse = file.with_name("quantized.onnx")
    with _quiet():
        quantize_dynamic(
            file,
            coarse,
            op_types_to_quantize=_QUANTIZED,
            per_channel=True,
            reduce_range=True,
            weight_type=QuantType.QInt8,
        )
    coarse.replace(file)
    file.with_name(f"{file.name}.data").unlink(missing_ok=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what onnxruntime says on the root logger about steps that are not needed."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)


def _run(session: Any, given: dict[str, Tensor]) -> list[np.ndarray]:
    return session.run(None, {name: given[name].numpy() for name in INPUTS})


def _deviation(found: np.ndarray, expected: Tensor) -> float:
    """The largest; infinite where one of both is not a number."""
    largest = np.abs(found - expected.numpy()).max()
    return float(largest) if np.isfinite(largest) else float("inf")


def _refuse(answerer: Answerer, deviation: float, limit: float, what: str) -> None:
    if not deviation <= limit:
        raise ExportError(
            f"{answerer.name}: the ONNX graph deviates from torch by {deviation:.2g} in a {what}, "
            f"more than {limit:g}; nothing was written. --tolerance takes more."
        )


def write_beside(answerer: Answerer, images: ImageParams, folder: Path, precision: str) -> None:
    """Write what the graph is used with."""
    task = answerer.task
    config = {
        "format": standalone.FORMAT,
        "precision": precision,
        "task": task.name,
        "images_per_question": task.images_per_sample,
        "joins_images": bool(task.joins_images),
        "image_transform": images.image_transform,
        "image_size": list(images.image_size),
        "exif_rotation": images.exif_rotation,
    }
    texts = {
        standalone.CONFIG: json.dumps(config, indent=2) + "\n",
        standalone.ANSWERS: json.dumps(answerer.answers, ensure_ascii=False, indent=0) + "\n",
        standalone.TOKENIZER: answerer.tokenizer_json(),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    shutil.copyfile(standalone.__file__, folder / standalone.SCRIPT)
