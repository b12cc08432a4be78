"""What an ONNX export keeps and costs: deviation, size, speed on the CPU, accuracy.

    python benchmarks/export_onnx.py [MODEL] [--threads 1] [--batch 8] [--seconds 3] [--large]

MODEL was trained on easy-VQA (`make train`); its accuracy on the test split is measured in torch,
in fp32 and in int8. Without it a network of the size of easy-VQA's with random weights is taken, or
with `--large` one of the published size (RN50x4, a BERT of 12 layers, images of 384x640), and
accuracy is left out.

A line each for torch, fp32 and int8:

- MiB: of the weights, or of the graph;
- deviation: the largest of a score from torch's, as a part of the largest score;
- ms: of a question (one image, one question), and of a batch (each question another image): the
  median of what fits into the seconds;
- accuracy: of the best answers, in per cent, over all questions of the test split; and how many of
  them are torch's own.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import clipvil_mmf
from clipvil_mmf.checkpoints.native import Description
from clipvil_mmf.config import from_config
from clipvil_mmf.data import easy_vqa_files
from clipvil_mmf.data.images import ImageParams
from clipvil_mmf.deploying import standalone
from clipvil_mmf.deploying.onnx_folder import FP32, INT8, check_packages, export_onnx
from clipvil_mmf.deploying.onnx_graph import Graph, canvases, random_inputs
from clipvil_mmf.hub import Answerer
from clipvil_mmf.network import ClipVilNetwork

SMALL = {
    "image_encoder": {
        "type": "clip_grid",
        "params": {"tower": {"layers": [1, 1, 1, 1], "width": 16}},
    },
    "fusion": {
        "type": "joint",
        "params": {
            "hidden_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "intermediate_size": 192,
            "vocab_size": 100,
        },
    },
    "classifier": {"type": "mlp"},
}
LARGE = {
    "image_encoder": {"type": "clip_grid", "params": {"name": "RN50x4"}},
    "fusion": {"type": "joint"},
    "classifier": {"type": "mlp"},
}


def random_model(is_large: bool) -> Answerer:
    """A model with random weights, of the published size or of easy-VQA's."""
    torch.manual_seed(0)
    sections, labels, images = (LARGE, 3129, {}) if is_large else (SMALL, 13, [64, 64])
    sections = {**sections, "num_labels": labels}
    network = ClipVilNetwork.from_config(**sections).eval()
    described = Description("random", {"kind": "finetuned"}, sections)
    if images:
        described.images = {"image_transform": "stretch", "image_size": images}
    size = network.fusion.config.vocab_size
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"word{n}" for n in range(size - 4))]
    answers = [f"answer {n}" for n in range(labels)]
    return Answerer(network, described, answers, tokens, "random weights")


def milliseconds(call: Callable[[], object], seconds: float) -> float:
    """The median time of calls, of as many as fit."""
    call()
    times, until = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < until:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def best_answers(answer: Callable[[str, list[str]], list[str]]) -> tuple[list[str], float]:
    """The answers to easy-VQA's test questions, and the share of right ones in per cent."""
    questions = easy_vqa_files.read_questions("test")
    by_image: dict[str, list[int]] = {}
    for row, question in enumerate(questions):
        by_image.setdefault(question.image, []).append(row)
    given = [""] * len(questions)
    for image, rows in by_image.items():
        found = answer(image, [questions[row].text for row in rows])
        for row, label in zip(rows, found, strict=True):
            given[row] = label
    right = sum(one in question.answers for one, question in zip(given, questions, strict=True))
    return given, 100 * right / len(questions)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--large", action="store_true")
    given = parser.parse_args()
    check_packages()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    torch.set_num_threads(given.threads)
    model = clipvil_mmf.from_pretrained(given.model) if given.model else random_model(given.large)
    print(f"{model}, {given.threads} threads")
    print(
        f"{'':8}{'MiB':>8}{'deviation':>11}{'1 question':>12}{f'batch of {given.batch}':>12}",
        end="",
    )
    print(f"{'accuracy':>10}{'as torch':>10}" if given.model else "")

    images = from_config(ImageParams, model.description.images, "images")
    graph = Graph(model, images).eval()
    canvas, pieces = canvases(images, 1)[0], model.description.max_seq_length
    one = random_inputs(model, canvas, 1, 1, pieces)
    many = random_inputs(model, canvas, given.batch, given.batch, pieces)

    def line(
        name: str,
        size: float,
        deviation: float | None,
        call: Callable[[dict[str, torch.Tensor]], object],
        answer: Callable[[str, list[str]], list[str]],
    ) -> list[str]:
        times = [milliseconds(lambda batch=b: call(batch), given.seconds) for b in (one, many)]
        found = "" if deviation is None else f"{deviation:.1e}"
        print(f"{name:8}{size / 2**20:8.1f}{found:>11}", end="")
        print("".join(f"{ms:9.1f} ms" for ms in times), end="", flush=True)
        if not given.model:
            print()
            return []
        answers, accuracy = best_answers(answer)
        same = sum(a == b for a, b in zip(answers, reference or answers, strict=True))
        print(f"{accuracy:10.2f}{100 * same / len(answers):9.2f}%")
        return answers

    @torch.inference_mode()
    def in_torch(batch: dict[str, torch.Tensor]) -> object:
        return graph(**batch)

    reference: list[str] = []
    size = sum(p.numel() * p.element_size() for p in model.network.parameters())
    reference = line(
        *("torch", size, None, in_torch),
        lambda image, asked: [found[0][0] for found in model.answer(image, asked, top_k=1)],
    )
    with tempfile.TemporaryDirectory() as folder:
        for precision in (FP32, INT8):
            path = Path(folder, precision)
            exported = export_onnx(model, path, precision)
            other = standalone.Model(path, given.threads)
            session = standalone.start(path / standalone.GRAPH, given.threads)
            line(
                *(precision, exported.size, exported.scores),
                lambda batch, session=session: session.run(
                    None, {name: tensor.numpy() for name, tensor in batch.items()}
                ),
                lambda image, asked, other=other: [
                    found[0][0] for found in other.answer(image, asked, top_k=1)
                ],
            )


if __name__ == "__main__":
    main()
