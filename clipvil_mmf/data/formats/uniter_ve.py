"""UNITER's text database of SNLI-VE: a folder ``ve_train.db`` with an LMDB and ``id2len.json``.

An entry of the LMDB is an LZ4 frame of MessagePack: ``image_id`` (the number of Flickr30k's image),
``sentence2`` (the hypothesis) and ``target``, whose ``labels`` have the one class: 0 contradiction,
1 entailment, 2 neutral. The keys of ``id2len.json``, sorted as text, are the pairs in their order.
Source: ChenRocks/UNITER, as CLIP-ViL reads it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from clipvil_mmf.data.formats.json_stream import Progress, QuestionFile
from clipvil_mmf.data.formats.rows import field, image_file, name, text
from clipvil_mmf.data.lmdb_files import open_lmdb
from clipvil_mmf.data.message_pack import unpack
from clipvil_mmf.data.questions import AnnotationError
from clipvil_mmf.data.table import QuestionTable, TableBuilder
from clipvil_mmf.tasks.snli_ve import LABELS
from clipvil_mmf.text_files import read_text

NAME = "UNITER text database of SNLI-VE"
DATABASE, IDS = "data.mdb", "id2len.json"


def recognises(file: QuestionFile) -> bool:
    """Whether the file is an LMDB's."""
    return file.path.name == DATABASE


def read(files: Sequence[Path], progress: Progress) -> QuestionTable:
    """Read the pairs of a database, whose ``data.mdb`` is named; see ``Format``."""
    path = files[0]
    ids = _ids(path.with_name(IDS))
    builder = TableBuilder(NAME, str(path.parent))
    environment = open_lmdb(path.parent)
    try:
        with environment.begin() as transaction:
            for key in ids:
                where = f"{path.parent}: entry {key!r}"
                content = transaction.get(key.encode())
                if content is None:
                    raise AnnotationError(
                        f"{where} is missing, but {IDS} names it; expected an entry for each. Was "
                        "the download complete?"
                    )
                row = _entry(content, where)
                label = _label(row, where)
                builder.add(
                    key,
                    text(row, ("sentence2",), where),
                    image_file(name(field(row, ("image_id",), where), "image_id", where)),
                    {label: 1.0},
                    {"label": label},
                    row,
                )
                progress(len(content))
    finally:
        environment.close()
    return builder.build()


def _ids(path: Path) -> list[str]:
    """The ids of the pairs, in their order."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; it lists the entries of {DATABASE}")
    lengths = json.loads(read_text(path))
    if not isinstance(lengths, dict):
        raise AnnotationError(f"{path} is a {type(lengths).__name__}; expected {{id: length}}")
    return sorted(lengths)


def _entry(content: bytes, where: str) -> Any:
    try:
        with pa.CompressedInputStream(pa.BufferReader(content), "lz4") as packed:
            return unpack(packed.read())
    except (ValueError, OSError) as e:  # Arrow's errors are one or the other
        raise AnnotationError(
            f"{where} cannot be read ({e}); expected an LZ4 frame of MessagePack. Was the "
            "download complete?"
        ) from e


def _label(row: Any, where: str) -> str:
    target = field(row, ("target",), where)
    found = target.get("labels") if isinstance(target, dict) else None
    if not (isinstance(found, list) and len(found) == 1 and found[0] in range(len(LABELS))):
        raise AnnotationError(
            f"{where} has the target {target!r}; expected {{'labels': [CLASS]}}, the class "
            f"being 0 to {len(LABELS) - 1}"
        )
    return LABELS[found[0]]
