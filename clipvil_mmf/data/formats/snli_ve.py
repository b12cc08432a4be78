"""SNLI-VE's own jsonl: ``{"pairID", "Flickr30kID", "sentence2", "gold_label", ...}`` a line.

The hypothesis is ``sentence2``; the premise is the image, and ``sentence1``, its caption, is not
read. Later releases write ``Flickr30K_ID``. SNLI marks a pair that its annotators disagree on by
the label ``-``: such pairs are left out, and counted. Source: necla-ml/SNLI-VE.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from reprlib import repr as short

from clipvil_mmf.data.formats.json_stream import Progress, QuestionFile, stream_json
from clipvil_mmf.data.formats.rows import field, image_file, name, one_file, question_id, text
from clipvil_mmf.data.questions import AnnotationError
from clipvil_mmf.data.table import QuestionTable, TableBuilder
from clipvil_mmf.tasks.snli_ve import LABELS

NAME = "SNLI-VE jsonl"
NO_LABEL = "-"
_IMAGE = ("Flickr30kID", "Flickr30K_ID")


def recognises(file: QuestionFile) -> bool:
    """Whether the first element is a row of this format."""
    key, row = next(iter(file.elements), (None, None))
    return key is None and isinstance(row, dict) and "sentence2" in row


def read(files: Sequence[Path], progress: Progress) -> QuestionTable:
    """Read the pairs of a file, see ``Format``."""
    path = one_file(files, NAME)
    builder = TableBuilder(NAME, str(path))
    for position, (_, row) in enumerate(stream_json(path, progress)):
        where = f"{path}: pair {position}"
        label = text(row, ("gold_label",), where)
        if label == NO_LABEL:
            builder.leave_out(f"the label {NO_LABEL!r}, on which annotators disagree")
            continue
        if label not in LABELS:
            raise AnnotationError(
                f"{where} has the gold_label {short(label)}; expected {', '.join(LABELS)}, or "
                f"{NO_LABEL!r} for none"
            )
        builder.add(
            question_id(row, where, ("pairID",)),
            text(row, ("sentence2",), where),
            image_file(name(field(row, _IMAGE, where), _IMAGE[0], where)),
            {label: 1.0},
            {"label": label},
            row,
        )
    return builder.build()
