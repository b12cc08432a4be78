"""Makes statements about easy-VQA's images, for the task entailment (docs/entailment.md).

    python scripts/easy_vqa_statements.py FOLDER [--images 1000]

Writes train.json, val.json and test.json, and copies the images that they are about. Of each image
there is one statement of each class: what it shows, what it does not, and what no picture of one
coloured shape can tell. The same files come out each time.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
from pathlib import Path

from clipvil_mmf.data.easy_vqa_files import SPLITS, question_type, read_questions

_UNTOLD = ("is heavy", "was drawn by a child", "is made of wood", "belongs to a set of three")


def shapes_and_colors(split: str) -> dict[str, dict[str, str]]:
    """Image -> ``{"shape": ..., "color": ...}``, where its questions tell both."""
    found: dict[str, dict[str, str]] = {}
    for question in read_questions(split, types=("shape", "color")):
        (answer,) = question.answers
        found.setdefault(question.image, {})[question_type(question.text)] = answer
    return {image: told for image, told in found.items() if len(told) == 2}


def statements(
    images: dict[str, dict[str, str]], values: dict[str, list[str]], split: str
) -> list[dict[str, str]]:
    """Three rows per image; ``values`` are all shapes and all colors."""
    draw = random.Random(split)
    rows = []
    for image, told in images.items():
        kind = draw.choice(("shape", "color"))
        false = {**told, kind: draw.choice([v for v in values[kind] if v != told[kind]])}
        texts = {
            "entailment": "there is a {color} {shape}".format(**told),
            "contradiction": "there is a {color} {shape}".format(**false),
            "neutral": f"the {told['shape']} {draw.choice(_UNTOLD)}",
        }
        name = f"{split}/{Path(image).name}"
        rows += [
            {"id": f"{name}#{label}", "image": name, "sentence": text, "label": label}
            for label, text in texts.items()
        ]
    return rows


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=1000, help="of train; a fifth elsewhere")
    given = parser.parse_args()
    known = {split: shapes_and_colors(split) for split in SPLITS}
    told = known["train"].values()
    values = {kind: sorted({image[kind] for image in told}) for kind in ("shape", "color")}
    for split in SPLITS:
        count = given.images if split == "train" else given.images // 5
        images = dict(list(known[split].items())[:count])
        rows = statements(images, values, split)
        (given.folder / split).mkdir(parents=True, exist_ok=True)
        for image in images:
            shutil.copy(image, given.folder / split)
        (given.folder / f"{split}.json").write_text(json.dumps(rows, indent=1) + "\n")
        print(f"{split}: {len(rows)} statements about {len(images)} images")


if __name__ == "__main__":
    main()
