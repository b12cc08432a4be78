"""Lists of labels as they come: in lines or in JSON, whatever the file's name ends in."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from clipvil_mmf.text_files import TextFileError, read_labels

LABELS = ["yes", "new york", "", "12", "café"]
LINES, JSON = "".join(f"{label}\n" for label in LABELS), json.dumps(LABELS, indent=0)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", LINES.encode()),
        ("a.txt", LINES.encode("utf-8-sig")),
        ("a.txt", LINES.replace("\n", "\r\n").encode()),
        ("a.txt", LINES.removesuffix("\n").encode()),
        ("a.txt.gz", gzip.compress(LINES.encode())),
        ("a.json", JSON.encode()),
        ("a.JSON", JSON.encode("utf-8-sig")),
        ("a.json.gz", gzip.compress(JSON.encode())),
        ("a.json", gzip.compress(JSON.encode())),
        ("a.txt", JSON.encode()),
        ("answers", JSON.replace("\n", "\r\n").encode()),
    ],
)
def test_ways_to_write_labels(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_labels(tmp_path / name) == LABELS


def test_a_label_that_begins_with_a_bracket(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("[UNK]\nyes\n")
    assert read_labels(tmp_path / "a.txt") == ["[UNK]", "yes"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('["yes", "a\\ud800"]', r"a\.json has 'a\\ud800' in entry 1 with .*half of a character"),
        ("yes\nno\n", r"a\.json is not valid JSON"),
        ('["yes", 1]', r"a\.json has 1 in entry 1"),
        ("[]", r"a\.json: no answers; expected at least one"),
    ],
)
def test_what_is_no_list_of_labels_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(TextFileError, match=message):
        read_labels(tmp_path / "a.json")


@pytest.mark.parametrize("tag", [1, None, ["vqa"], {}])
def test_odd_names_of_data_sets(tmp_path: Path, tag: object) -> None:
    entries = [{"ans": "yes", "dsets": ["vqa"]}, {"ans": "no", "dsets": ["gqa", tag]}]
    (tmp_path / "all_ans.json").write_text(json.dumps(entries))
    with pytest.raises(TextFileError, match=r"all_ans\.json does not say which data sets"):
        read_labels(tmp_path / "all_ans.json", ["vqa"])
