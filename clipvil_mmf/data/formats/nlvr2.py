"""NLVR2's own JSON: ``{"identifier", "sentence", "label", ...}``, an object a line.

The files end in ``.json``. ``identifier`` is ``<split>-<set>-<pair>-<sentence>``, and the images of
a pair are ``<split>-<set>-<pair>-img0.png`` (left) and ``-img1.png``: those of train in a numbered
folder (``directory``), ``train/40/``, the others in ``dev/``, ``test1/`` and ``test2/``. Source:
lil-lab/nlvr.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from reprlib import repr as short
from typing import Any

from clipvil_mmf.data.formats.json_stream import Progress, QuestionFile, stream_lines
from clipvil_mmf.data.formats.rows import name, one_file, text
from clipvil_mmf.data.questions import AnnotationError
from clipvil_mmf.data.table import QuestionTable, TableBuilder
from clipvil_mmf.tasks.nlvr2 import LABELS

NAME = "official NLVR2 JSON lines"
_PARTS = 4  # of an identifier


def recognises(file: QuestionFile) -> bool:
    """Whether the first line is a row of this format."""
    row = file.first_line
    return isinstance(row, dict) and "identifier" in row and "sentence" in row


def read(files: Sequence[Path], progress: Progress) -> QuestionTable:
    """Read the examples of a file, see ``Format``; those of the hidden test have no labels."""
    path = one_file(files, NAME)
    builder = TableBuilder(NAME, str(path))
    for position, row in enumerate(stream_lines(path, progress)):
        where = f"{path}: example {position}"
        identified = parts_of(row, where)
        identifier, folder, *_ = identified
        if row.get("directory") is not None:
            folder += f"/{name(row['directory'], 'directory', where)}"
        pair = identifier.rpartition("-")[0]
        images = tuple(f"{folder}/{pair}-img{side}.png" for side in (0, 1))
        label = None if row.get("label") is None else text(row, ("label",), where)
        add(builder, identified, text(row, ("sentence",), where), images, label, row, where)
    return builder.build()


def parts_of(row: Any, where: str) -> list[str]:
    """The identifier of an example, and its parts: split, set, pair, sentence."""
    identifier = text(row, ("identifier",), where)
    parts = identifier.split("-")
    if len(parts) != _PARTS or not all(parts):
        raise AnnotationError(
            f"{where} has the identifier {short(identifier)}; expected SPLIT-SET-PAIR-SENTENCE, "
            "such as dev-850-0-1"
        )
    return [identifier, *parts]


def add(
    builder: TableBuilder,
    identified: Sequence[str],
    sentence: str,
    images: tuple[str, ...],
    label: str | None,
    row: dict[str, Any],
    where: str,
) -> None:
    """Add one example.

    Its kind ``sentence`` is what examples share that have one sentence, by the official evaluation:
    the identifier without the pair.
    """
    if label not in (None, *LABELS):
        raise AnnotationError(
            f"{where} has the label {short(label)}; expected {' or '.join(LABELS)}"
        )
    identifier, split, group, _, number = identified
    kinds = {"sentence": f"{split}-{group}--{number}"}
    answers = None
    if label is not None:
        answers, kinds = {label: 1.0}, {"label": label, **kinds}
    builder.add(identifier, sentence, images, answers, kinds, row)
