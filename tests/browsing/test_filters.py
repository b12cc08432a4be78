"""Addresses and what they ask for."""

from __future__ import annotations

import pytest

from clipvil_mmf.browsing.filters import FilterError, Filters

RUNS = ["first", "second & third", "x"]
KINDS = {"question_type": ("what", "is the <b>")}


def read(query: str, runs=RUNS) -> Filters:
    return Filters.from_query(query, runs, KINDS)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "text=a+%26+b%3D%3C&answer=yes&page=3",
        "kind.question_type=is+the+%3Cb%3E&sort=-loss",
        "run=second+%26+third&verdict=wrong&said=no&least=12.5&most=90",
        "compare=differ&other=x",
        "id=5&image=sub%2Fa.png",
    ],
)
def test_an_address_is_read_and_written_alike(query: str) -> None:
    assert read(query).query == query


def test_names_may_end_with_a_space() -> None:
    query = "kind.question_type=is+&run=+b"
    assert Filters.from_query(query, ["a", " b"], {"question_type": ("is ",)}).query == query


@pytest.mark.parametrize(
    ("query", "canonical"),
    [
        ("text=&answer=+&verdict=&page=1&sort=", ""),
        ("run=first&verdict=right", "verdict=right"),
        ("other=x", ""),
        ("compare=differ&other=second+%26+third", "compare=differ"),
        ("compare=differ&run=x&other=first", "run=x&compare=differ"),
        ("page=2&text=a", "text=a&page=2"),
    ],
)
def test_what_is_empty_or_the_default_is_left_out(query: str, canonical: str) -> None:
    assert read(query).query == canonical


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("tekst=a", "no 'tekst'"),
        ("kind.color=red", "no 'color'"),
        ("kind.question_type=who", "no 'who'; choose what"),
        ("run=fourth", "no 'fourth'; choose first"),
        ("verdict=good", "choose right, wrong"),
        ("sort=size", "sort: there is no 'size'"),
        ("least=many", "not a confidence in percent"),
        ("most=101", "not a confidence in percent"),
        ("most=nan", "not a confidence in percent"),
        ("page=0", "not a number of a page"),
        ("page=99999999999", "not a number of a page"),
        ("compare=differ&run=x&other=x", "choose two runs"),
        ("text=" + "x" * 1001, "more than 1000"),
        ("text=%ff", "cannot be read"),
        ("&".join(f"a{n}=1" for n in range(101)), "cannot be read"),
    ],
)
def test_what_cannot_be_is_said(query: str, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        read(query)


def test_without_predictions() -> None:
    for query in ("verdict=wrong", "sort=loss", "least=5", "compare=differ"):
        with pytest.raises(FilterError, match="give --predictions"):
            read(query, [])
    with pytest.raises(FilterError, match="--predictions twice"):
        read("compare=differ", ["one"])
    assert read("sort=id", []).query == "sort=id"
