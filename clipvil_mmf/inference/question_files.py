"""What ``clipvil answer`` is to answer: an image, a folder of them, a file of questions."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clipvil_mmf.atomic import whole_file
from clipvil_mmf.inference.fetching import is_url
from clipvil_mmf.text_files import TextFileError, half_character, read_text

# What a row of a result has beside those of its question.
ANSWER, ERROR = "answer", "error"
TABLES = (".csv", ".tsv", ".jsonl", ".json")
RESULTS = (".csv", ".json", ".jsonl")
IMAGES = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff", ".jp2")
_EXPECTED = f"expected {', '.join(TABLES[:-1])} or {TABLES[-1]} with an image and a question a row"


@dataclass(frozen=True)
class Asked:
    """A question about an image, or several."""

    fields: dict[str, Any]  # the row of its file, image and question among them
    image: str | list[str]  # path or address
    question: str


def is_table(path: str) -> bool:
    """Whether a path is that of a file of questions, by its ending (also with .gz behind it)."""
    return not is_url(path) and Path(path.removesuffix(".gz")).suffix.lower() in TABLES


def read_folder(folder: Path, questions: Sequence[str]) -> list[Asked]:
    """Each question about each image file in a folder and those inside it, by name."""
    named = (file for file in folder.rglob("*") if file.suffix.lower() in IMAGES)
    files = sorted(file for file in named if not file.is_dir())
    if not files:
        raise ValueError(f"{folder} holds no images; expected files ending in {', '.join(IMAGES)}")
    if not questions:
        raise ValueError(f"{folder}: expected a question about its images behind it")
    return [
        Asked({"image": str(file.relative_to(folder)), "question": text}, str(file), text)
        for file in files
        for text in questions
    ]


def read_table(path: Path, questions: Sequence[str], root: Path | None = None) -> list[Asked]:
    """The questions of a file; or these questions about each of its images.

    Args:
        path: CSV or TSV with a line of names, JSON lines, or a JSON list of objects.
        questions: of a file that has images alone; none for one that has questions.
        root: the folder of its images; None for that of the file.

    Raises:
        FileNotFoundError, TextFileError, ValueError: it is not there, or is something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; {_EXPECTED}")
    root = path.parent if root is None else root
    found = []
    for number, row in enumerate(_rows(path), 1):
        where = f"{path}, row {number}"
        taken = [name for name in (ANSWER, ERROR) if name in row]
        if taken:
            raise ValueError(f"{where}: has {taken[0]!r}, which is written; give it another name")
        if questions and "question" in row:
            raise ValueError(f"{where}: has a question; give none on the command line")
        for text in questions or [row.get("question")]:
            if not isinstance(text, str) or not text:
                raise ValueError(
                    f"{where}: question: got {text!r:.80}, expected a text. {_EXPECTED}"
                )
            image = _located(row.get("image"), root, where)
            found.append(Asked({**row, "question": text}, image, text))
    if not found:
        raise ValueError(f"{path} has no rows; {_EXPECTED}")
    return found


def check_output(path: Path) -> None:
    """Raise ``ValueError`` unless results can be written there, by a name that is free."""
    if path.suffix not in RESULTS:
        raise ValueError(f"--output {path}: expected a name ending in {', '.join(RESULTS)}")
    if path.exists():
        raise ValueError(f"--output {path} exists: remove it, or give another name")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise ValueError(f"--output {path}: {above} is a file; expected a folder")
    if _partial(path).exists():
        raise ValueError(
            f"--output {path}: {_partial(path)} exists, the answers of a command that runs, or has "
            "not come to its end: wait for it, remove or rename the file, or give another name"
        )


@contextmanager
def results_file(path: Path | None) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Give a function that takes the rows of results, which become the file ``path`` at the end.

    Until then they are lines of JSON in a file beside it, ``NAME.partial.jsonl``, which stays where
    that end is not reached, and stderr names it. None: rows go nowhere.

    Raises:
        ValueError: as :func:`check_output`; another command may have begun since that was called.
    """
    if path is None:
        yield lambda row: None
        return
    rows: list[dict[str, Any]] = []
    partial = _partial(path)
    check_output(path)
    with explained(partial):
        partial.parent.mkdir(parents=True, exist_ok=True)
        # The name of an image may be no UTF-8: then it is escaped, as JSON does.
        opened = partial.open("x", encoding="utf-8", errors="backslashreplace")
    with opened as file:

        def write(row: dict[str, Any]) -> None:
            with explained(partial):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                file.flush()
            rows.append(row)

        try:
            yield write
            with explained(path):
                write_results(rows, path)
        except BaseException:
            with suppress(OSError):  # what the disk did not take, it does not take now
                file.close()
            if rows:
                print(f"{partial}: the {len(rows):,} rows until here", file=sys.stderr)
            else:
                partial.unlink()
            raise
    partial.unlink()


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say of an ``OSError`` which file could not be written, and what to do."""
    try:
        yield
    except OSError as error:
        raise OSError(
            f"{path} could not be written: {error.strerror or error}. Free some disk space, or "
            "name another place"
        ) from error


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial.jsonl")


def write_results(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Write results, whole or not at all: CSV, JSON or JSON lines, by the ending of the name.

    In CSV lists are written as JSON.
    """
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    text = "".join(f"{line}\n" for line in lines)
    if path.suffix == ".json":
        text = "[" + ",\n".join(lines) + "]\n"
    elif path.suffix == ".csv":
        table = io.StringIO(newline="")
        names = dict.fromkeys(name for row in rows for name in row)
        writer = csv.DictWriter(table, names)
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _cell(value) for name, value in row.items()})
        text = table.getvalue()
    with whole_file(path) as file:
        file.write(text.encode(errors="backslashreplace"))


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value


def _located(image: Any, root: Path, where: str) -> str | list[str]:
    """The path of an image of a row, or of each of a list."""
    if isinstance(image, list) and image and all(isinstance(one, str) for one in image):
        return [str(_located(one, root, where)) for one in image]
    if not isinstance(image, str) or not image or "\0" in image:
        raise ValueError(
            f"{where}: image: got {image!r:.80}, expected a path or an address. {_EXPECTED}"
        )
    return image if is_url(image) else str(root / image)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    kind = Path(path.name.removesuffix(".gz")).suffix.lower()
    try:
        rows = _json_rows(path, kind) if kind in (".json", ".jsonl") else _csv_rows(path, kind)
        for number, row in enumerate(rows, 1):
            if not isinstance(row, dict):
                raise TextFileError(f"{path}, row {number}: got {row!r:.80}; {_EXPECTED}")
            half = half_character(json.dumps(row, ensure_ascii=False))
            if half is not None:
                raise TextFileError(
                    f"{path}, row {number}: it has {half!r}, half of a character; expected Unicode "
                    "text. Was it cut within an emoji?"
                )
            yield row
    except csv.Error as error:
        raise TextFileError(f"{path} is not CSV ({error}); {_EXPECTED}") from error


def _csv_rows(path: Path, kind: str) -> Iterator[dict[str, Any]]:
    text = io.StringIO(read_text(path), newline="")
    reader = csv.DictReader(text, delimiter="\t" if kind == ".tsv" else ",", strict=True)
    names = reader.fieldnames or []
    if "image" not in names:
        found = ", ".join(names) or "none"
        raise TextFileError(f"{path}: its columns are {found:.200}; {_EXPECTED}")
    doubled = next((name for name in names if names.count(name) > 1), None)
    if doubled is not None:
        raise TextFileError(f"{path}: two of its columns are named {doubled!r}; expected one")
    for number, row in enumerate(reader, 1):
        if None in row or None in row.values():
            raise TextFileError(f"{path}, row {number}: expected {len(names)} columns")
        yield row


def _json_rows(path: Path, kind: str) -> Iterator[Any]:
    text = read_text(path)
    try:
        if kind == ".jsonl":
            yield from (json.loads(line) for line in text.split("\n") if line.strip())
            return
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TextFileError(f"{path} is not valid JSON ({error}); {_EXPECTED}") from error
    if not isinstance(rows, list):
        raise TextFileError(
            f"{path} holds a JSON {type(rows).__name__}, expected a list of objects"
        )
    yield from rows
