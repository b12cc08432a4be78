"""Text files as they come: UTF-8 with or without a byte order mark, packed by gzip or not."""

from __future__ import annotations

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any, TextIO, cast

_GZIP = b"\x1f\x8b"
_SURROGATE = re.compile("[\ud800-\udfff]")
# What reading a file raises that is cut short, damaged, or no UTF-8.
READ_ERRORS = (UnicodeDecodeError, EOFError, zlib.error, gzip.BadGzipFile)


class TextFileError(ValueError):
    """A file that is not the text it should be; the message names it and says what to do."""


def open_text(path: Path) -> TextIO:
    """Open a text file without its byte order mark; reading it may raise ``READ_ERRORS``.

    Raises:
        FileNotFoundError: no such file.
        TextFileError: it is in UTF-16 or UTF-32, or a damaged gzip file.
    """
    with path.open("rb") as file:
        packed = file.read(len(_GZIP)) == _GZIP
    opener = gzip.open if packed else open
    try:
        with opener(path, "rb") as file:
            head = cast(bytes, file.read(4))
    except READ_ERRORS as e:
        raise _unreadable(path, e) from e
    # Without a mark, UTF-16 and UTF-32 show by the zeros beside the first letters.
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in head:
        raise TextFileError(f"{path} is in UTF-16 or UTF-32; expected UTF-8. Save it as UTF-8")
    return cast(TextIO, opener(path, "rt", encoding="utf-8-sig"))


def half_character(text: str) -> str | None:
    r"""The first lone surrogate (``\ud800`` to ``\udfff``), which cannot be written; or None."""
    found = None if text.isascii() else _SURROGATE.search(text)
    return found and found[0]


def read_text(path: Path) -> str:
    """The whole text of a file; errors are those of ``open_text``."""
    with open_text(path) as file:
        try:
            return file.read()
        except READ_ERRORS as e:
            raise _unreadable(path, e) from e


def read_labels(path: str | Path, sets: Collection[str] | None = None) -> list[str]:
    """Read a list of labels: one a line, or a JSON list as ``trainval_label2ans.json``.

    Entries of LXMERT's ``all_ans.json`` are ``{"ans": label, ...}``. An empty line is a label too:
    LXMERT's list has it, for what normalises to nothing.

    Args:
        path: the file.
        sets: of ``all_ans.json``, keep the answers of these data sets alone (its ``dsets``).

    Raises:
        FileNotFoundError: no such file.
        TextFileError: it holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; expected answers, one a line or a JSON list such as "
            "trainval_label2ans.json or all_ans.json"
        )
    text = read_text(path)
    is_json = path.name.removesuffix(".gz").lower().endswith(".json")
    try:
        entries = json.loads(text) if is_json or text.lstrip().startswith("[") else None
    except (ValueError, RecursionError) as e:
        if is_json:
            raise TextFileError(
                f"{path} is not valid JSON ({e}); expected a list of answers"
            ) from e
        entries = None
    if entries is None and not is_json:
        entries = text.removesuffix("\n").split("\n")
    if not isinstance(entries, list):
        raise TextFileError(
            f"{path}: expected a list of answers, got a {type(entries).__name__}; such a list is "
            "trainval_label2ans.json (not ans2label)"
        )
    if sets is not None:
        entries = _answers_of(entries, sets, path)
    labels = [entry.get("ans") if isinstance(entry, dict) else entry for entry in entries]
    wrong = next((row for row, label in enumerate(labels) if not isinstance(label, str)), None)
    if wrong is not None:
        raise TextFileError(
            f"{path} has {entries[wrong]!r} in entry {wrong}; expected a list of answers, or of "
            '{"ans": answer}'
        )
    for row, label in enumerate(labels):
        half = half_character(label)
        if half is not None:
            raise TextFileError(
                f"{path} has {label!r:.80} in entry {row} with {half!r}, half of a character; "
                "expected Unicode text"
            )
    if not any(labels):
        raise TextFileError(f"{path}: no answers; expected at least one")
    return labels


def _answers_of(entries: list[Any], sets: Collection[str], path: Path) -> list[Any]:
    """The entries of ``all_ans.json`` that are tagged with one of the data sets."""
    tags = [entry.get("dsets") if isinstance(entry, dict) else None for entry in entries]
    if not all(isinstance(tag, list) and all(isinstance(n, str) for n in tag) for tag in tags):
        raise TextFileError(
            f"{path} does not say which data sets its answers are of; expected entries as those of "
            'LXMERT\'s all_ans.json, {"ans": answer, "dsets": [data set]}'
        )
    known = sorted({name for tag in tags for name in tag})
    missing = [name for name in sets if name not in known]
    if missing:
        raise TextFileError(
            f"{path} has no answers of the data set {missing[0]!r}; expected some of "
            f"{', '.join(known)}"
        )
    return [
        entry for entry, tag in zip(entries, tags, strict=True) if not set(tag).isdisjoint(sets)
    ]


def _unreadable(path: Path, error: Exception) -> TextFileError:
    return TextFileError(
        f"{path} cannot be read ({error}); expected text in UTF-8. Was the download complete?"
    )
