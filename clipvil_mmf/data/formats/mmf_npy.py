"""MMF's npy annotations of VQA v2 and GQA (its zoo's ``vqa2.defaults`` and ``gqa.defaults``).

An object array whose entry 0 is a header; the others are dicts with ``question_id``,
``question_str``, ``image_id``, ``image_name`` and, where they are known, ``valid_answers``,
``all_answers`` or ``answers`` (ten strings). Such an array is a pickle: it is read by an unpickler
that knows containers, strings and numbers alone. A pickle cannot be read in parts: VQA v2's
training file takes some 2 GB while it is converted.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from clipvil_mmf.data.columns import Columns, ColumnsBuilder, image_file
from clipvil_mmf.data.formats.gqa_official import KINDS
from clipvil_mmf.data.formats.json_stream import Progress
from clipvil_mmf.data.formats.rows import field, kinds, name, people, question_id, string, text
from clipvil_mmf.data.questions import AnnotationError
from clipvil_mmf.data.vqa_normalize import soft_scores

NAME = "MMF npy annotations"
_ALLOWED = {
    "numpy": ("ndarray", "dtype"),
    # The same module before and since numpy 2.
    "numpy.core.multiarray": ("_reconstruct", "scalar"),
    "numpy._core.multiarray": ("_reconstruct", "scalar"),
    "builtins": ("set", "frozenset", "complex", "bytearray", "slice", "range"),
    "collections": ("OrderedDict",),
    "_codecs": ("encode",),
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name not in _ALLOWED.get(module, ()):
            raise pickle.UnpicklingError(f"it wants to use {module}.{name}")
        # The old name of the module would warn.
        return super().find_class(module.replace("numpy.core.", "numpy._core."), name)


def load_objects(path: Path, progress: Progress) -> np.ndarray:
    """Read an object array without running code from the file.

    Returns:
        (N,) object, what the file holds.

    Raises:
        FileNotFoundError: no such file.
        AnnotationError: the file is damaged, no such array, or holds anything but containers,
            strings and numbers.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Question file {path} does not exist; expected a .npy file")
    with path.open("rb") as file:
        try:
            _skip_header(file)
            content = _Unpickler(_Counted(file, progress)).load()
        except pickle.UnpicklingError as e:
            raise AnnotationError(
                f"{path} is refused: {e}, but annotations are containers, strings and numbers. "
                "Fetch the file from MMF's zoo again"
            ) from e
        except (ValueError, EOFError, AttributeError, ImportError, IndexError, TypeError) as e:
            raise AnnotationError(
                f"{path} cannot be read ({e}); expected MMF's annotations, an array of objects in "
                "npy format. Was the download complete?"
            ) from e
    if not isinstance(content, np.ndarray) or content.ndim != 1:
        raise AnnotationError(f"{path} holds {type(content).__name__}; expected a list of objects")
    return content


def _skip_header(file: BinaryIO) -> None:
    version = np.lib.format.read_magic(file)
    reader = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if reader is None:
        raise ValueError(f"npy version {version}")
    _, _, dtype = reader(file)
    if not dtype.hasobject:
        raise ValueError(f"an array of {dtype}")


class _Counted(io.RawIOBase):
    """A file that tells how far it is read."""

    def __init__(self, file: BinaryIO, progress: Progress) -> None:
        self._file, self._progress = file, progress

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer)  # type: ignore[attr-defined]
        self._progress(count)
        return count

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._progress(len(data))
        return data

    def readline(self, size: int | None = -1) -> bytes:
        return self._file.readline(-1 if size is None else size)


def read(files: Sequence[Path], progress: Progress) -> Columns:
    """Read the questions of a file.

    Raises:
        AnnotationError: see ``load_objects``; or a row lacks a field.
    """
    (path,) = files
    rows = load_objects(path, progress)
    builder = ColumnsBuilder(NAME, str(path))
    # A header says what the annotations are, and is no question.
    header = rows[0] if len(rows) and isinstance(rows[0], dict) else {}
    first = 0 if "question_id" in header else 1
    scores = lru_cache(maxsize=4096)(_one if header.get("dataset_name") == "gqa" else soft_scores)
    keys = ("valid_answers", "all_answers", "answers")  # MMF's own VQA2Dataset reads the last
    for position, row in enumerate(rows[first:], first):
        where = f"{path}: entry {position}"
        key = _plain(question_id(row, where))
        known = next((name for name in keys if row.get(name) is not None), None)
        meta = row.get("meta_data")
        builder.add(
            key,
            text(row, ("question_str", "question"), where),
            _image(row, where),
            None if known is None else scores(people(row[known], known, where)),
            kinds(meta if isinstance(meta, dict) else {}, KINDS, where),
            row,
        )
    return builder.build()


def _one(answers: tuple[str, ...]) -> dict[str, float]:
    """GQA's one answer stands there ten times; VQA's normalisation is not for it."""
    return {answers[0]: 1.0}


def _image(row: dict[str, Any], where: str) -> str:
    named = row.get("image_name")
    if named is not None and string(named, "image_name", where).startswith("COCO_"):
        return image_file(named)
    return image_file(name(field(row, ("image_id",), where), "image_id", where))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
