"""MMF's npy annotations of VQA v2 and GQA (its zoo's ``vqa2.defaults`` and ``gqa.defaults``).

An object array whose entry 0 is a header; the others are dicts with ``question_id``,
``question_str``, ``image_id``, ``image_name`` and, where they are known, ``valid_answers``,
``all_answers`` or ``answers`` (ten strings). Such an array is a pickle: it is read by an unpickler
that knows containers, strings, numbers and arrays of them alone (``plain_pickle.py``). A pickle
cannot be read in parts: VQA v2's training file takes some 2 GB while it is converted.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from clipvil_mmf.data.formats import rows
from clipvil_mmf.data.formats.gqa_official import KINDS
from clipvil_mmf.data.formats.json_stream import Progress, QuestionFile
from clipvil_mmf.data.questions import AnnotationError
from clipvil_mmf.data.table import QuestionTable, TableBuilder
from clipvil_mmf.data.vqa_normalize import soft_scores
from clipvil_mmf.plain_pickle import load_npy

NAME = "MMF npy annotations"


def recognises(file: QuestionFile) -> bool:
    """Whether the file's name says so."""
    return file.path.suffix == ".npy"


def read(files: Sequence[Path], progress: Progress) -> QuestionTable:
    """Read the questions of a file, see ``Format``; no code of the file is run."""
    path = rows.one_file(files, NAME)
    try:
        content = load_npy(path, progress)
    # Damaged files raise whatever their half-read bytes lead to.
    except Exception as e:
        raise AnnotationError(
            f"{path} cannot be read ({str(e) or type(e).__name__}); expected MMF's annotations, an "
            "npy array of containers, strings and numbers. Fetch the file from MMF's zoo again"
        ) from e
    if not isinstance(content, np.ndarray) or content.ndim != 1:
        raise AnnotationError(f"{path} holds {type(content).__name__}; expected a list of objects")
    builder = TableBuilder(NAME, str(path))
    # A header says what the annotations are, and is not a question.
    header = content[0] if len(content) and isinstance(content[0], dict) else {}
    first = 0 if "question_id" in header else 1
    scores = lru_cache(maxsize=4096)(_one if header.get("dataset_name") == "gqa" else soft_scores)
    keys = ("valid_answers", "all_answers", "answers")  # MMF's own VQA2Dataset reads the last
    for position, row in enumerate(content[first:], first):
        where = f"{path}: entry {position}"
        key = rows.question_id(row, where)
        known = next((name for name in keys if row.get(name) is not None), None)
        meta = row.get("meta_data")
        builder.add(
            key.item() if isinstance(key, np.generic) else key,
            rows.text(row, ("question_str", "question"), where),
            _image(row, where),
            None if known is None else scores(rows.people(row[known], known, where)),
            rows.kinds(meta if isinstance(meta, dict) else {}, KINDS, where),
            row,
        )
    return builder.build()


def _one(answers: tuple[str, ...]) -> dict[str, float]:
    """GQA's one answer stands there ten times; VQA's normalisation is not for it."""
    return {answers[0]: 1.0}


def _image(row: dict[str, Any], where: str) -> str:
    named = row.get("image_name")
    if named is not None and rows.string(named, "image_name", where).startswith("COCO_"):
        return rows.image_file(named)
    return rows.image_file(rows.name(rows.field(row, ("image_id",), where), "image_id", where))
