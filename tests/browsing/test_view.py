"""Which questions filters leave, and how runs fare on them."""

from __future__ import annotations

import pytest

from clipvil_mmf.browsing.filters import FilterError
from clipvil_mmf.data.questions import Question
from tests.browsing.small import FIRST, QUESTIONS, SECOND, browser


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    return browser(tmp_path_factory.mktemp("small"), FIRST, SECOND)


def ids(browser, query: str) -> list:
    return browser.questions.ids(browser.rows(browser.read_filters(query).key))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", [10, 3, 7, 8, 20]),
        ("text=what+shape", [10, 20]),
        ("text=.", []),  # to the letter
        ("text=%3Cb%3E", [8]),
        ("answer=Circle", [10]),
        ("id=7", [7]),
        ("id=x", []),
        ("id=99999999999999999999", []),
        ("image=a.png", [10, 3]),
        ("image=c.png", [20]),
        ("image=sub/c.png", [20]),
        ("kind.question_type=what", [10, 3, 20]),
        ("kind.question_type=what&text=behind", [20]),
        ("verdict=right", [10, 3, 8]),
        ("verdict=wrong", [7]),
        ("verdict=unanswered", [20]),
        ("run=second&verdict=right", [10, 8, 20]),
        ("said=NO", [7, 8]),
        ("least=50&most=75", [10, 7]),
        ("most=90", [10, 3, 7]),
        ("compare=differ", [10, 3, 7]),
        ("compare=this", [3]),
        ("compare=other", [20]),
        ("run=second&compare=this", [20]),
        ("compare=both", [10, 8]),
        ("compare=neither", [7]),
        ("sort=id", [3, 7, 8, 10, 20]),
        ("sort=-loss", [7, 10, 3, 8, 20]),
        ("sort=loss", [8, 3, 10, 7, 20]),
        ("sort=confidence", [10, 7, 3, 8, 20]),
        ("sort=-confidence", [8, 3, 7, 10, 20]),
        ("sort=-loss&run=second", [10, 3, 7, 8, 20]),
    ],
)
def test_filters(both, query: str, expected: list[int]) -> None:
    assert ids(both, query) == expected


def test_how_runs_fare(both) -> None:
    first, second = both.runs.values()
    rows = both.rows(both.read_filters("").key)
    found = both.summary(first, rows)
    assert found.accuracy == pytest.approx(100 * 2.6 / 5) and found.counted == 5
    assert (found.right, found.wrong, found.unanswered) == (3, 1, 1)
    assert found.confidence == pytest.approx(78.75) and found.losses == 4
    found = both.summary(second, both.rows(both.read_filters("text=color").key))
    assert (found.accuracy, found.counted, found.wrong, found.confidence) == (0, 1, 1, None)


def test_without_right_answers(tmp_path) -> None:
    unlabelled = [Question(q.question_id, q.text, q.image) for q in QUESTIONS]
    found = browser(tmp_path, FIRST, SECOND, questions=unlabelled)
    assert ids(found, "compare=differ&said=ring") == [10]
    assert ids(found, "verdict=unanswered") == [20]
    for query in ("verdict=wrong", "answer=red", "compare=both"):
        with pytest.raises(FilterError, match="are not known"):
            ids(found, query)
    (first, _), rows = found.runs.values(), found.rows(found.read_filters("").key)
    assert found.summary(first, rows).accuracy is None


def test_before_any_training(tmp_path) -> None:
    found = browser(tmp_path)
    assert ids(found, "text=shape&sort=id") == [10, 20]
    assert found.run_of(found.read_filters("")) is None


def test_ids_that_are_strings(tmp_path) -> None:
    questions = [Question(key, "?", "a.png", {"red": 1.0}) for key in ("b", "a", "10")]
    found = browser(tmp_path, questions=questions)
    assert ids(found, "sort=id") == ["10", "a", "b"] and ids(found, "id=10") == ["10"]
