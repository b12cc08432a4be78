"""LXMERT's pre-training JSON: ``[{"img_id", "sentf": {source: [sentence]}, "labelf": ...}, ...]``.

``labelf`` has, for the sources that are questions, a soft label for each sentence:
``{source: [{answer: score}]}``. A row of the table is a sentence; its id is
``<img_id>_<source>_<number>``, its kind ``source`` the source, its answers those of LXMERT's table
(``clipvil_mmf/pretraining_answers.py``), none for a caption. COCO's images lie in ``train2014`` and
``val2014``, Visual Genome's, whose ids are bare numbers, in ``VG_100K``.
Source: airsplay/lxmert (arXiv 1908.07490).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from clipvil_mmf.data.formats.json_stream import Progress, QuestionFile, stream_json
from clipvil_mmf.data.formats.rows import field, image_file, name, one_file, soft_label, string
from clipvil_mmf.data.questions import AnnotationError
from clipvil_mmf.data.table import QuestionTable, TableBuilder
from clipvil_mmf.pretraining_answers import pretraining_label

NAME = "LXMERT pre-training JSON"
VISUAL_GENOME = "VG_100K"


def recognises(file: QuestionFile) -> bool:
    """Whether the first element is a row of this format."""
    key, row = next(iter(file.elements), (None, None))
    return key is None and isinstance(row, dict) and "sentf" in row


def read(files: Sequence[Path], progress: Progress) -> QuestionTable:
    """Read the sentences of a file, see ``Format``."""
    path = one_file(files, NAME)
    builder = TableBuilder(NAME, str(path))
    for position, (_, row) in enumerate(stream_json(path, progress)):
        where = f"{path}: record {position}"
        image = name(field(row, ("img_id",), where), "img_id", where)
        file = image_file(image)
        if image.isdecimal():
            file = f"{VISUAL_GENOME}/{file}"
        for source, number, sentence, label in _sentences(row, where):
            uid = f"{image}_{source}_{number:03d}"
            builder.add(uid, sentence, file, pretraining_label(label), {"source": source}, row)
    return builder.build()


def _sentences(row: Any, where: str) -> Iterator[tuple[str, int, str, dict[str, float]]]:
    """Source, number in it, text and label of each sentence of a record."""
    labels = row.get("labelf") or {}
    if not isinstance(labels, dict):
        raise AnnotationError(f"{where} has a labelf that is not an object of sources")
    found = field(row, ("sentf",), where)
    if not isinstance(found, dict) or not all(isinstance(part, list) for part in found.values()):
        raise AnnotationError(f"{where} has a sentf that is not an object of lists of sentences")
    for source, sentences in found.items():
        string(source, "source", where)
        known = labels.get(source)
        if known is not None and (not isinstance(known, list) or len(known) != len(sentences)):
            raise AnnotationError(
                f"{where}: the labelf of {source!r} does not fit its sentf; expected a list of "
                f"{len(sentences)} labels, one for each sentence"
            )
        for number, sentence in enumerate(sentences):
            place = f"{where}, {source} {number}"
            label = {} if known is None else soft_label(known[number], place)
            yield source, number, string(sentence, "sentence", place), label
