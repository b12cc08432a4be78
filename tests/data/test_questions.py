from __future__ import annotations

import json

import pytest

from clipvil_mmf.data.formats import read_table
from clipvil_mmf.data.questions import AnnotationError, check_ids


def write(path, content):
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"sent": "a", "img_id": "1"}], r"question 0 has no 'question_id' \(found .*\); add it"),
        ([{"question_id": 1, "img_id": "1"}], "question 0 has no 'sent'"),
        (["text"], "question 0 is 'text'; expected an object"),
        ([{"question_id": 1, "sent": "a", "img_id": "1", "label": 3}], "label 3; expected"),
        ("text", "expected a list of questions.*found str"),
        ([], "no questions; expected at least one"),
    ],
)
def test_bad_content_is_one_clear_error(tmp_path, content, message):
    path = write(tmp_path / "q.json", content)
    with pytest.raises(AnnotationError, match=message) as error:
        read_table([path])
    assert str(path) in str(error.value)


def test_cut_off_file_names_the_file(tmp_path):
    path = tmp_path / "q.json"
    path.write_text('[{"question_id": 1,')
    with pytest.raises(AnnotationError, match=r"q\.json is not valid JSON .* download complete"):
        read_table([path])


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json does not exist"):
        read_table([tmp_path / "none.json"])


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, 2, 1], "id 1 occurs twice, again at question 2"),
        ([1, "2"], "question 1 has the str id '2', the first one the int id 1"),
        ([None], "has the id None; expected an integer or a non-empty string"),
        ([True], "has the id True"),
        ([""], "has the id ''"),
        ([1.5], "has the id 1.5"),
    ],
)
def test_bad_ids(ids, message):
    with pytest.raises(AnnotationError, match=f"somewhere: .*{message}"):
        check_ids(ids, "somewhere")
