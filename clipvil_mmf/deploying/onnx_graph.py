"""A network as one ONNX graph: pixels and word pieces -> scores and probabilities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clipvil_mmf.data.images import ImageParams
from clipvil_mmf.hub import Answerer
from clipvil_mmf.preprocessing import pixel_statistics
from clipvil_mmf.vision import ClipGridEncoder

INPUTS = ("pixels", "image_index", "input_ids", "input_mask")
OUTPUTS = ("scores", "probabilities")
Canvas = tuple[int, int]


class ExportError(ValueError):
    """A model that is not exported; the message says why."""


class Graph(nn.Module):
    """What is exported of a model: normalisation, network, and what its task makes of scores.

    Args:
        answerer: on the CPU, in float32.
        images: its preprocessing.
    """

    def __init__(self, answerer: Answerer, images: ImageParams) -> None:
        super().__init__()
        self.network = answerer.network
        self._probabilities = answerer.task.probabilities
        statistics = pixel_statistics(images.mean, images.std).view(2, 3, 1, 1)
        self.register_buffer("statistics", statistics, persistent=False)

    def forward(
        self, pixels: Tensor, image_index: Tensor, input_ids: Tensor, input_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Score all labels for B questions.

        Args:
            pixels: (I, 3, H, W) uint8, each image once, of one canvas.
            image_index: (B,) int64, the image of each question; with k passes (B, k).
            input_ids: (B, T) int64.
            input_mask: (B, T) int64, 1 for word pieces, 0 for padding.

        Returns:
            Scores before the sigmoid or softmax, and behind it: (B, labels) float32 both.
        """
        mean, std = self.statistics
        images = (pixels.float() - mean) / std
        segments = torch.zeros_like(input_ids)
        scores = self.network(images, image_index, input_ids, input_mask, segments).scores
        return scores, self._probabilities(scores)


def canvases(images: ImageParams, joined: int) -> list[Canvas]:
    """The (H, W) of the pictures that a preprocessing makes, of which ``joined`` stand together."""
    height, width = images.image_size
    found = [(height, width)]
    if images.image_transform == "fit_pad" and height != width:
        found.append((width, height))
    return [(high, wide * joined) for high, wide in found]


def random_inputs(
    answerer: Answerer, canvas: Canvas, images: int, questions: int, pieces: int
) -> dict[str, Tensor]:
    """What :class:`Graph` takes: random pixels and word pieces, the same at each call.

    The first question has ``pieces`` word pieces, the others up to as many.
    """
    draw = np.random.default_rng(0)
    passes = answerer.task.passes
    index = draw.integers(0, images, (questions, passes))
    lengths = np.append(pieces, draw.integers(2, pieces + 1, questions - 1))[:, None]
    mask = (np.arange(pieces) < lengths).astype(np.int64)
    arrays = {
        "pixels": draw.integers(0, 256, (images, 3, *canvas), np.uint8),
        "image_index": index if passes > 1 else index[:, 0],
        "input_ids": draw.integers(0, len(answerer.tokens), (questions, pieces)) * mask,
        "input_mask": mask,
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def program(answerer: Answerer, graph: Graph, images: ImageParams) -> torch.export.ExportedProgram:
    """The steps of a graph, in which sizes may differ from call to call.

    Those of images, questions and word pieces; and height and width, where the preprocessing has
    two canvases.
    """
    shown = canvases(images, joined_images(answerer))
    longest = answerer.description.max_seq_length
    given = random_inputs(answerer, shown[0], images=2, questions=3, pieces=longest)
    sizes = _free_sizes(answerer, shown)
    with exportable(answerer, shown), torch.no_grad():
        return torch.export.export(graph, (), given, dynamic_shapes=sizes, strict=False)


def write_graph(answerer: Answerer, images: ImageParams, path: Path) -> Graph:
    """Write a model as an ONNX file, and give the module that it was written from.

    Raises:
        ExportError: torch or ONNX has no counterpart for a part of it.
    """
    graph = Graph(answerer, images).eval()
    names = {"input_names": INPUTS, "output_names": OUTPUTS}
    try:
        steps = program(answerer, graph, images)
        torch.onnx.export(steps, dynamo=True, verbose=False, **names).save(path)
    # Whatever the exporter meets in components of others; its messages are pages long.
    except Exception as error:
        cause = error.__cause__ or error
        why = next((line for line in str(cause).splitlines() if line.strip()), "no reason given")
        raise ExportError(
            f"{answerer.name} cannot be exported to ONNX: {type(cause).__name__}: {why[:300]}"
        ) from error
    return graph


@contextmanager
def exportable(answerer: Answerer, shown: Sequence[Canvas]) -> Iterator[None]:
    """Let the network compute as a graph can: all images at once, in float32.

    A ViT's positions are interpolated to its canvases beforehand, as no graph does it exactly.
    """
    encoder, tuning = answerer.network.image_encoder, answerer.network.tuning
    changes = [
        (getattr(encoder, "config", None), "images_at_once", 0),
        (getattr(tuning, "config", None), "backbone_precision", "fp32"),
    ]
    before = [(owner, key, getattr(owner, key)) for owner, key, _ in changes if hasattr(owner, key)]
    has_positions = isinstance(encoder, ClipGridEncoder) and encoder.has_positions
    try:
        for owner, key, value in changes:
            if hasattr(owner, key):
                setattr(owner, key, value)
        if has_positions:
            encoder.positions = _known_positions(encoder, shown)
        yield
    finally:
        for owner, key, value in before:
            setattr(owner, key, value)
        if has_positions:
            del encoder.positions


def _known_positions(
    encoder: ClipGridEncoder, shown: Sequence[Canvas]
) -> Callable[[Tensor], Tensor]:
    """As :meth:`ClipGridEncoder.positions`, for these canvases alone: one, or one and its turn."""
    with torch.no_grad():
        tables = [encoder.positions(torch.empty(1, 3, *canvas)).clone() for canvas in shown]

    def positions(images: Tensor) -> Tensor:
        if len(tables) == 1:
            return tables[0]
        height, width = images.shape[-2:]
        # Compared as tensors: sizes would make one of both a part of the graph.
        is_tall = torch.scalar_tensor(height) > torch.scalar_tensor(width)
        tall = int(shown[1][0] > shown[1][1])
        cells = (height // encoder.stride) * (width // encoder.stride)
        return torch.where(is_tall, tables[tall], tables[1 - tall])[: 1 + cells]

    return positions


def joined_images(answerer: Answerer) -> int:
    """How many images stand side by side in a picture of the model."""
    return answerer.task.images_per_sample if answerer.task.joins_images else 1


def _free_sizes(answerer: Answerer, shown: Sequence[Canvas]) -> dict[str, Any]:
    """The sizes of the inputs that may differ from call to call, as torch.export takes them."""
    questions = torch.export.Dim("questions")
    pieces = torch.export.Dim("pieces", min=2, max=answerer.description.max_seq_length)
    pixels: dict[int, Any] = {0: torch.export.Dim("images")}
    if len(shown) > 1:
        stride = getattr(answerer.network.image_encoder, "stride", 1)
        shortest, longest = min(shown[0]) // stride, max(shown[0]) // stride
        for place, name in ((2, "rows"), (3, "columns")):
            pixels[place] = stride * torch.export.Dim(name, min=shortest, max=longest)
    texts = {0: questions, 1: pieces}
    return dict(zip(INPUTS, (pixels, {0: questions}, texts, texts), strict=True))
