"""The formats of question files, recognised by their content.

A format is a module with ``NAME``, ``recognises(key, value)`` (of the first elements of a JSON
file, see ``json_stream.py``) and ``read(files, progress) -> Columns``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from types import ModuleType

from clipvil_mmf.data.columns import Columns
from clipvil_mmf.data.formats import gqa_official, lxmert, mmf_npy, plain, vqa_official
from clipvil_mmf.data.formats.json_stream import Progress, no_progress, stream_json
from clipvil_mmf.data.questions import AnnotationError

# `plain` takes any list: it comes last.
_JSON_FORMATS: tuple[ModuleType, ...] = (vqa_official, gqa_official, lxmert, plain)
_ELEMENTS = 8  # VQA's files say what they are in the first few


def recognise(path: Path) -> ModuleType:
    """The format of a question file.

    Raises:
        FileNotFoundError: no such file.
        AnnotationError: none of the known formats.
    """
    if path.suffix == ".npy":
        return mmf_npy
    head = list(islice(stream_json(path), _ELEMENTS))
    for key, value in head:
        for format in _JSON_FORMATS:
            if format.recognises(key, value):
                return format
    if not head:
        raise AnnotationError(f"{path}: no questions; expected at least one")
    names = ", ".join(format.NAME for format in (*_JSON_FORMATS, mmf_npy))
    raise AnnotationError(
        f"{path}: expected questions in one of the formats: {names}; found an object with "
        f"{', '.join(repr(key) for key, _ in head[:3])}"
    )


def read_columns(files: Sequence[Path], progress: Progress = no_progress) -> Columns:
    """Read the questions of a split.

    Args:
        files: the question file; official VQA v2's may be followed by that of its annotations.
        progress: called with the number of characters or bytes just read.

    Raises:
        FileNotFoundError: a file is missing.
        AnnotationError: see the format's ``read``; whatever else a file's odd content leads to.
    """
    try:
        return recognise(files[0]).read(files, progress)
    except (AnnotationError, FileNotFoundError):
        raise
    except Exception as e:
        names = " + ".join(map(str, files))
        raise AnnotationError(
            f"{names} cannot be read ({type(e).__name__}: {e}); expected question files in one of "
            "the known formats. Are they damaged?"
        ) from e
