from __future__ import annotations

import json

import pytest

from clipvil_mmf.config import ConfigError
from clipvil_mmf.data.labels import LabelProcessor, UnknownLabelError


@pytest.mark.parametrize("name", ["answers.txt", "trainval_label2ans.json"])
def test_reads_a_vocabulary_file_in_its_order(tmp_path, name):
    path = tmp_path / name
    answers = ["net", "a b", "1"]
    path.write_text(json.dumps(answers) if name.endswith("json") else "\n".join(answers) + "\n")
    processor = LabelProcessor({"vocab": str(path)})
    assert not processor.needs_fit
    assert processor.labels == answers and processor.get_vocab_size() == 3
    assert processor({"a b": 0.6, "net": 1}) == [(1, 0.6), (0, 1.0)]


def test_unknown_answer_says_what_to_do():
    processor = LabelProcessor({})
    processor.fit(["yes", "no"], "toy")
    with pytest.raises(
        UnknownLabelError, match=r"the label 'maybe' is not among the 2 .*on_unknown_answer"
    ):
        processor({"maybe": 1.0})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        ("", "no answers"),
        ("yes\nno\nyes\n", "'yes' occurs twice"),
        ("yes\nno\n".encode("utf-16"), "is in UTF-16 or UTF-32; expected UTF-8"),
        ("où\n".encode("latin-1"), "cannot be read .*expected text in UTF-8"),
    ],
)
def test_bad_file(tmp_path, content, message):
    path = tmp_path / "answers.txt"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=f"answers.txt.*{message}"):
        LabelProcessor({"vocab": str(path)})


def test_bad_json_file(tmp_path):
    (tmp_path / "a.json").write_text('{"yes": 0}')
    with pytest.raises(ConfigError, match=r"a\.json: expected a list of answers"):
        LabelProcessor({"vocab": str(tmp_path / "a.json")})


@pytest.mark.parametrize("name", ["answers.txt", "answers.json"])
def test_a_byte_order_mark_is_no_part_of_an_answer(tmp_path, name):
    text = json.dumps(["red", "où"]) if name.endswith("json") else "red\noù\n"
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    assert LabelProcessor({"vocab": str(tmp_path / name)}).labels == ["red", "où"]


@pytest.mark.parametrize("sign", ["\n", "\r"])
def test_an_answer_of_two_lines_is_named(tmp_path, sign):
    """The vocabulary that a run writes has one answer a line."""
    with pytest.raises(ConfigError, match=r"toy: the label 'two.{2}lines' has a line break"):
        LabelProcessor({}).fit(["red", f"two{sign}lines"], "toy")
    (tmp_path / "a.json").write_text(json.dumps(["red", f"two{sign}lines"]))
    with pytest.raises(ConfigError, match=r"a\.json: the label 'two.{2}lines' has a line break"):
        LabelProcessor({"vocab": str(tmp_path / "a.json")})


def test_dataset_without_answers_needs_a_file():
    with pytest.raises(
        ConfigError, match=r"answer_processor.params.vocab: toy brings no list of labels"
    ):
        LabelProcessor({}).fit(None, "toy")


def test_an_empty_line_in_the_middle_is_an_answer(tmp_path):
    (tmp_path / "answers.txt").write_text("yes\n\nno\n")
    assert LabelProcessor({"vocab": str(tmp_path / "answers.txt")}).labels == ["yes", "", "no"]
