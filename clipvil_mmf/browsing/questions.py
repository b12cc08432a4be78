"""The questions of a split as columns to filter by; texts stay in the mapped Arrow table."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clipvil_mmf.data.questions import Question
from clipvil_mmf.data.table import KINDS, QuestionTable

_MOST_NAMES = 500  # of a kind that can be chosen from a list


@dataclass(frozen=True)
class Kind:
    """A kind of questions, such as the question type."""

    codes: np.ndarray  # (N,) int32, places in ``names``
    names: tuple[str, ...]
    counts: tuple[int, ...]  # questions of each name


class Questions:
    """N questions.

    Args:
        name: what they are called on the page, such as ``vqa2 val``.
        table: the questions.
        folder: of their images.

    Attributes:
        kinds: name -> kind, of those with few enough names to choose from.
    """

    def __init__(self, name: str, table: QuestionTable, folder: Path) -> None:
        self.name, self.table, self.folder = name, table, folder
        self._ids, self._texts = _column(table, "id"), _column(table, "text")
        self._prefix = os.path.join(os.path.abspath(folder), "")  # of images given by whole paths
        self._given = _column(table, "given")
        kinds = {kind: _kind(table, kind) for kind in KINDS}
        self.kinds: Mapping[str, Kind] = {
            name: kind
            for name, kind in kinds.items()
            if kind is not None and 1 < len(kind.names) <= _MOST_NAMES
        }

    def __len__(self) -> int:
        return len(self.table)

    def question(self, row: int) -> Question:
        """One question."""
        return self.table[row]

    def annotators(self, row: int) -> list[str]:
        """What each annotator answered to a question, as written; empty where that is unknown."""
        return [] if self._given is None else self._given[row].as_py()

    def kinds_of(self, row: int) -> dict[str, str]:
        """The names of a question, '' left out: kind -> name."""
        named = {name: kind.names[kind.codes[row]] for name, kind in self.kinds.items()}
        return {name: found for name, found in named.items() if found}

    def image_rows(self, row: int) -> list[int]:
        """Which images a question is about: numbers of ``image_file``."""
        return np.atleast_1d(self.table.image_rows[row]).tolist()

    def image_name(self, image: int) -> str:
        """The path of an image in the images' folder."""
        return self.table.image_path(image).removeprefix(self._prefix)

    def image_names(self) -> list[str]:
        """Those of all images."""
        paths = (path for part in self.table.parts for path in part.images.to_pylist())
        return [path.removeprefix(self._prefix) for path in paths]

    def image_file(self, image: int) -> Path | None:
        """The file of an image; None where its path leads out of the images' folder."""
        file = os.path.normpath(os.path.join(self._prefix, self.table.image_path(image)))
        return Path(file) if file.startswith(self._prefix) else None

    def with_text(self, text: str) -> np.ndarray:
        """Which questions have a text in them, in capitals or not: (N,) bool."""
        return _mask(pc.match_substring(self._texts, text, ignore_case=True))

    def with_id(self, key: str) -> np.ndarray:
        """Which question has this id: (N,) bool."""
        if pa.types.is_integer(self._ids.type):
            try:
                number = int(key)
            except ValueError:
                return np.zeros(len(self), bool)
            if not -(2**63) <= number < 2**63:
                return np.zeros(len(self), bool)
            return _mask(pc.equal(self._ids, number))
        return _mask(pc.equal(self._ids, key))

    def with_image(self, path: str) -> np.ndarray:
        """Which questions are about an image of this path, or one with that name: (N,) bool."""
        known = pa.chunked_array([part.images for part in self.table.parts], pa.string())
        named = _mask(pc.or_(pc.equal(known, path), pc.ends_with(known, f"/{path}")))
        found = named[self.table.image_rows]
        return found.any(axis=1) if found.ndim == 2 else found

    def by_id(self, rows: np.ndarray) -> np.ndarray:
        """Rows in the order of their ids."""
        return rows[pc.sort_indices(self._ids.take(pa.array(rows))).to_numpy()]

    def ids(self, rows: Sequence[int] | np.ndarray) -> list[Any]:
        """The ids of these questions."""
        return self._ids.take(pa.array(rows, pa.int64())).to_pylist()

    def texts(self, rows: Sequence[int] | np.ndarray) -> list[str]:
        """These questions."""
        return self._texts.take(pa.array(rows, pa.int64())).to_pylist()


def _column(table: QuestionTable, name: str) -> pa.ChunkedArray | None:
    if any(name not in part.table.column_names for part in table.parts):
        return None
    return pa.chunked_array([chunk for part in table.parts for chunk in part.table[name].chunks])


def _kind(table: QuestionTable, name: str) -> Kind | None:
    column = _column(table, name)
    if column is None:
        return None
    unified = column.unify_dictionaries()
    codes = np.concatenate([chunk.indices.to_numpy() for chunk in unified.chunks])
    names = unified.chunk(0).dictionary.to_pylist()
    counts = np.bincount(codes, minlength=len(names))
    return Kind(codes, tuple(names), tuple(counts.tolist()))


def _mask(found: pa.ChunkedArray) -> np.ndarray:
    return found.to_numpy().astype(bool)
