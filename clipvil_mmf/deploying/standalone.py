"""Answers questions about images with an exported ONNX folder; torch is not needed.

    pip install onnxruntime tokenizers pillow numpy
    python FOLDER/answer.py photo.jpg "what is the man holding?"

`clipvil export MODEL --format onnx` copies this file into the folder as answer.py. It may be
imported too: `Model(FOLDER).answer(image, questions)`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from tokenizers import Tokenizer

GRAPH, ANSWERS, TOKENIZER = "model.onnx", "answers.json", "tokenizer.json"
CONFIG, SCRIPT, FORMAT = "config.json", "answer.py", 1


def start(graph: Path, threads: int = 0) -> Any:
    """An onnxruntime session on the CPU; 0 threads are as many as there are cores."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


class Model:
    """A folder that ``clipvil export --format onnx`` wrote.

    Args:
        folder: it.
        threads: of one call; 0 for as many as there are cores.
    """

    def __init__(self, folder: str | Path, threads: int = 0) -> None:
        folder = Path(folder)
        self.config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if self.config["format"] != FORMAT:
            raise ValueError(f"{folder} has format {self.config['format']}, expected {FORMAT}")
        self.answers = json.loads((folder / ANSWERS).read_text(encoding="utf-8"))
        self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        self._session = start(folder / GRAPH, threads)

    def answer(
        self, image: Any, questions: Sequence[str], top_k: int = 5
    ) -> list[list[tuple[str, float]]]:
        """The best answers to each question on an image, with their probabilities.

        Args:
            image: a file, a binary file object or a PIL image; where a question is about several
                images, a list of them.
            questions: at least one.
            top_k: answers to each.
        """
        images = image if isinstance(image, (list, tuple)) else [image]
        wanted = self.config["images_per_question"]
        if len(images) != wanted:
            raise ValueError(f"got {len(images)} images, expected {wanted} for each question")
        pixels = np.stack([self.pixels(one) for one in images])
        if self.config["joins_images"]:
            pixels = np.concatenate(list(pixels), axis=2)[None]
        # Each question is about the same images: the tower runs once for all.
        index = np.tile(np.arange(len(pixels)), (len(questions), 1))
        pieces = self._tokenizer.encode_batch(list(questions))
        probabilities = self._session.run(
            ["probabilities"],
            {
                "pixels": pixels,
                "image_index": index if len(pixels) > 1 else index[:, 0],
                "input_ids": np.array([one.ids for one in pieces]),
                "input_mask": np.array([one.attention_mask for one in pieces]),
            },
        )[0]
        best = np.argsort(-probabilities, axis=1)[:, :top_k]
        return [
            [(self.answers[place], float(row[place])) for place in places]
            for row, places in zip(probabilities, best, strict=True)
        ]

    def pixels(self, image: Any) -> np.ndarray:
        """An image as the graph takes it: (3, H, W) uint8."""
        if not isinstance(image, Image.Image):
            with Image.open(image) as opened:
                opened.load()
                return self.pixels(opened)
        if image.mode in ("I", "F") or image.mode.startswith("I;16"):
            raise ValueError(f"the image's pixels are of mode {image.mode}; expected 8 bits")
        if self.config["exif_rotation"] == "apply":
            image = ImageOps.exif_transpose(image)
        height, width = self.config["image_size"]
        if self.config["image_transform"] == "stretch":
            picture = image.convert("RGB")
            if picture.size != (width, height):
                picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        else:
            picture = fit_and_pad(image, height, width)
        return np.asarray(picture).transpose(2, 0, 1)


def fit_and_pad(image: Image.Image, height: int, width: int) -> Image.Image:
    """Resize into a canvas of height x width, or width x height for portraits; fill it up black."""
    small, large = sorted(image.size)
    short = height
    if large / small * short > width:
        short = round(width * small / large)
    if image.width < image.height:
        size = (short, int(short * image.height / image.width))
    else:
        size = (int(short * image.width / image.height), short)
    canvas = Image.new("RGB", (height, width) if size[0] <= size[1] else (width, height))
    picture = image.resize(size, Image.Resampling.BILINEAR).convert("RGB")
    left, top = (-((own - room) // 2) for own, room in zip(size, canvas.size, strict=True))
    canvas.paste(picture, (left, top))
    return canvas


def main() -> None:
    """Print the best answers to questions about an image."""
    parser = argparse.ArgumentParser(description="Answer questions about an image.")
    parser.add_argument("image", help="an image file")
    parser.add_argument("questions", nargs="+", help="questions about it")
    parser.add_argument("--model", default=Path(__file__).parent, help="the exported folder")
    parser.add_argument("--top-k", type=int, default=1, help="answers to each question")
    given = parser.parse_args()
    found = Model(given.model).answer(given.image, given.questions, given.top_k)
    for question, answers in zip(given.questions, found, strict=True):
        print(question, ", ".join(f"{answer} ({100 * part:.0f}%)" for answer, part in answers))


if __name__ == "__main__":
    main()
