from __future__ import annotations

import pytest

from clipvil_mmf.data.vqa_normalize import (
    clean_answer,
    leave_one_out,
    normalize_answer,
    soft_scores,
)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Yes.", "yes"),
        ("A  red\tcar", "red car"),
        ("the the cat", "cat"),
        ("Two", "2"),
        ("none", "0"),
        ("t-shirt", "t shirt"),
        ("t -shirt", "t shirt"),
        ("black, white", "black white"),
        ("black,white", "black white"),
        ("1,000", "1000"),
        ("1,000 a/b", "1000 ab"),  # a comma in a number: all punctuation goes without a blank
        ("٣,٤ a/b", "٣ ٤ b"),  # digits are ASCII's
        ("٣.٤", "٣٤"),
        ("5.5", "5.5"),
        ("5.", "5"),
        ("p.m.", "pm"),
        ("dont", "don't"),
        ("Cant", "can't"),
        ("somebody'd", "somebodyd"),
        ("ow's'at", "'ow's'at"),
        ("Im here", "im here"),  # the official table's capitals never match
        ("id've", "id've"),
        ("let's", "let's"),
        ("it's 10:30", "it's 10:30"),  # neither apostrophe nor colon is punctuation
        ("an", ""),
        ("what?!", "what"),  # between nothing: each becomes a blank, stripped by the split
        ("a." * 40, "a" * 33 + ".a" * 7 + "."),  # only 32 periods go
    ],
)
def test_normalisation(written, expected):
    assert normalize_answer(written) == expected


def test_cleaning_keeps_the_spelling():
    assert clean_answer("\n A\tRed. ") == "A Red."


def test_leave_one_out_of_ten():
    scores = [leave_one_out(matches, 10) for matches in range(6)]
    assert scores == pytest.approx([0, 0.3, 0.6, 0.9, 1, 1])


def test_soft_scores_count_spellings_together():
    given = ["red", "Red.", "a red", "blue", "Blue", *["no idea"] * 4, "1,000"]
    assert soft_scores(given) == pytest.approx(
        {"red": 0.9, "blue": 0.6, "no idea": 1.0, "1000": 0.3}
    )
