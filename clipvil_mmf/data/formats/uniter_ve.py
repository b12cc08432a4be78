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
from reprlib import repr as short
from typing import Any

import lmdb
import pyarrow as pa

from clipvil_mmf.data.formats.json_stream import Progress, QuestionFile
from clipvil_mmf.data.formats.rows import field, image_file, name, string, text
from clipvil_mmf.data.lmdb_files import open_lmdb
from clipvil_mmf.data.message_pack import unpack
from clipvil_mmf.data.questions import AnnotationError
from clipvil_mmf.data.table import QuestionTable, TableBuilder
from clipvil_mmf.tasks.snli_ve import LABELS
from clipvil_mmf.text_files import TextFileError, read_text

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
    environment = _open(path.parent)
    try:
        with environment.begin() as transaction:
            for key in ids:
                where = f"{path.parent}: entry {short(key)}"
                content = transaction.get(key.encode()) if key else None
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
    try:
        lengths = json.loads(read_text(path))
    except TextFileError as e:
        raise AnnotationError(str(e)) from e
    except (ValueError, RecursionError) as e:
        raise AnnotationError(
            f"{path} is not valid JSON ({e}); expected {{id: length}}. Was the download complete?"
        ) from e
    if not isinstance(lengths, dict):
        raise AnnotationError(f"{path} is a {type(lengths).__name__}; expected {{id: length}}")
    return sorted(string(key, "id", str(path)) for key in lengths)


def _open(folder: Path) -> lmdb.Environment:
    try:
        return open_lmdb(folder)
    except (lmdb.Error, OSError, ValueError) as e:
        raise AnnotationError(
            f"{folder / DATABASE} cannot be read ({e}); expected an LMDB. Was the download "
            "complete?"
        ) from e


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
            f"{where} has the target {short(target)}; expected {{'labels': [CLASS]}}, the class "
            f"being 0 to {len(LABELS) - 1}"
        )
    return LABELS[int(found[0])]
