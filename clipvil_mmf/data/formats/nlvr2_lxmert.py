"""LXMERT's JSON for NLVR2: ``[{"identifier", "img0", "img1", "sent", "label", "uid"}, ...]``.

``img0`` (left) and ``img1`` are names of images without their ending, which all lie in one folder;
``label`` is 1 for true, 0 for false. Source: airsplay/lxmert.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from reprlib import repr as short

from clipvil_mmf.data.formats import nlvr2
from clipvil_mmf.data.formats.json_stream import Progress, QuestionFile, stream_json
from clipvil_mmf.data.formats.rows import one_file, text
from clipvil_mmf.data.questions import AnnotationError
from clipvil_mmf.data.table import QuestionTable, TableBuilder
from clipvil_mmf.tasks.nlvr2 import LABELS

NAME = "LXMERT NLVR2 JSON"


def recognises(file: QuestionFile) -> bool:
    """Whether the first element is a row of this format."""
    key, row = next(iter(file.elements), (None, None))
    return key is None and isinstance(row, dict) and "img0" in row and "img1" in row


def read(files: Sequence[Path], progress: Progress) -> QuestionTable:
    """Read the examples of a file, see ``Format``."""
    path = one_file(files, NAME)
    builder = TableBuilder(NAME, str(path))
    for position, (_, row) in enumerate(stream_json(path, progress)):
        where = f"{path}: example {position}"
        identified = nlvr2.parts_of(row, where)
        images = tuple(f"{text(row, (f'img{side}',), where)}.png" for side in (0, 1))
        label = row.get("label")
        if label is not None:
            if label not in (0, 1):
                raise AnnotationError(f"{where} has the label {short(label)}; expected 0 or 1")
            label = LABELS[int(label)]
        nlvr2.add(builder, identified, text(row, ("sent",), where), images, label, row, where)
    return builder.build()
