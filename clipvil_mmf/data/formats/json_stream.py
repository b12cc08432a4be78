"""Large JSON files, an element at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from clipvil_mmf.data.questions import AnnotationError
from clipvil_mmf.text_files import READ_ERRORS, TextFileError, open_text

_CHUNK = 1 << 22  # characters read at once; several thousand questions
_LONGEST = 1 << 24  # an element that goes on for longer is a mistake
_LONGEST_LINE = 1 << 20  # of a file with an element a line, until its format is known
_BLANK = " \t\n\r"
_LINES = (".jsonl", ".jsonl.gz")  # files with an element a line
_ELEMENTS = 8  # VQA's files say what they are in the first few

Progress = Callable[[int], None]


def no_progress(count: int) -> None:
    """For those who do not watch."""


def stream_json(
    path: Path, progress: Progress = no_progress, lines: bool = False
) -> Iterator[tuple[str | None, Any]]:
    """Read the elements of the outermost list or object, without holding the whole file.

    A list in an object is streamed as well, which is how VQA's files keep their questions. Of a
    file that ends in ``.jsonl`` each line is an element.

    Args:
        path: a file in UTF-8, which may be packed by gzip.
        progress: called with the number of characters just read.
        lines: each line is an element, whatever the file's name ends in.

    Yields:
        ``(None, element)`` of a list, ``(key, value)`` of an object, and ``(key, element)`` for
        each element of a list in an object.

    Raises:
        FileNotFoundError: no such file.
        AnnotationError: it is not JSON in UTF-8, or neither a list nor an object.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Question file {path} does not exist; expected a JSON file")
    try:
        file = open_text(path)
    except TextFileError as e:
        raise AnnotationError(str(e)) from e
    with file:
        scanner = _Scanner(file.read, progress)
        try:
            opening = scanner.peek()
            if lines or path.name.endswith(_LINES):
                while scanner.peek():
                    yield None, scanner.value()
            elif opening == "[":
                yield from ((None, element) for element in scanner.elements())
            elif opening == "{":
                yield from scanner.members()
            else:
                raise AnnotationError(
                    f"{path}: expected a list of questions, or an object that has them; found "
                    f"{type(scanner.value()).__name__}"
                )
            if scanner.peek():
                hint = ", an object a line? Then its name has to end in .jsonl"
                raise ValueError(f"there is more after its end{hint if opening == '{' else ''}")
        except AnnotationError:
            raise
        except RecursionError as e:
            raise AnnotationError(
                f"{path}: its objects and lists are nested too deeply; expected a question file"
            ) from e
        except (ValueError, *READ_ERRORS) as e:  # of the decoder of JSON too
            raise AnnotationError(
                f"{path} is not valid JSON ({e}); expected a question file. Was the download "
                "complete?"
            ) from e


def stream_lines(path: Path, progress: Progress = no_progress) -> Iterator[Any]:
    """The elements of a file with one a line, whatever its name ends in; see ``stream_json``."""
    return (element for _, element in stream_json(path, progress, lines=True))


class QuestionFile:
    """A file whose format is to be recognised; it is there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.error: AnnotationError | None = None

    @cached_property
    def first_line(self) -> Any:
        """The JSON of its first line; None if that is not a whole element, or a very long one."""
        try:
            with open_text(self.path) as file:
                return json.loads(file.readline(_LONGEST_LINE))
        except (ValueError, RecursionError, *READ_ERRORS):  # TextFileError is a ValueError
            return None

    @cached_property
    def elements(self) -> list[tuple[str | None, Any]]:
        """Its first JSON elements, see ``stream_json``; none if it is not JSON (``error``)."""
        try:
            return list(islice(stream_json(self.path), _ELEMENTS))
        except AnnotationError as error:
            self.error = error
            return []


class _Scanner:
    """A window on the text that the C decoder of ``json`` reads values from."""

    def __init__(self, read: Callable[[int], str], progress: Progress) -> None:
        self._read = read
        self._progress = progress
        self._decode = json.JSONDecoder().raw_decode
        self._text = ""
        self._at = 0
        self._ended = False

    def peek(self) -> str:
        """The next character that is not blank; '' at the end."""
        while True:
            text, at = self._text, self._at
            while at < len(text) and text[at] in _BLANK:
                at += 1
            self._at = at
            if at < len(text) or not self._more():
                return text[at : at + 1]

    def value(self) -> Any:
        """The next value, decoded."""
        self.peek()
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except json.JSONDecodeError:
                if len(self._text) - self._at > _LONGEST or not self._more():
                    raise
                continue
            # A number may go on in the next chunk.
            if end < len(self._text) or not self._more():
                self._at = end
                return value

    def elements(self) -> Iterator[Any]:
        """The elements of the list that begins here."""
        for _ in self._places("[", "]"):
            yield self.value()

    def members(self) -> Iterator[tuple[str, Any]]:
        """The members of the object that begins here; lists element by element."""
        for _ in self._places("{", "}"):
            key = self.value()
            if not isinstance(key, str):
                raise ValueError(f"expected a key, found {key!r}")
            self._expect(":")
            for value in self.elements() if self.peek() == "[" else [self.value()]:
                yield key, value

    def _places(self, opening: str, closing: str) -> Iterator[None]:
        """Stop where each element or member of what begins here is to be read."""
        self._expect(opening)
        if self.peek() == closing:
            self._at += 1
            return
        while True:
            yield
            if self._expect(f",{closing}") == closing:
                return

    def _expect(self, signs: str) -> str:
        found = self.peek()
        if not found or found not in signs:
            raise ValueError(
                f"expected {' or '.join(signs)}, found {found!r}" if found else "it ends too early"
            )
        self._at += 1
        return found

    def _more(self) -> bool:
        """Drop what is read, add the next chunk; whether there was one."""
        if self._ended:
            return False
        chunk = self._read(_CHUNK)
        self._ended = not chunk
        self._progress(len(chunk))
        self._text = self._text[self._at :] + chunk
        self._at = 0
        return bool(chunk)
