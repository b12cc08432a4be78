"""The official VQA accuracy, each value worked by hand from the text of vqaEval.py."""

from __future__ import annotations

import pytest

from clipvil_mmf.prediction.vqa_accuracy import vqa_accuracy


@pytest.mark.parametrize(
    ("matches", "accuracy"),
    [
        (0, 0.0),
        # 1 match: left out, 0/3; each of the 9 others leaves it in, 1/3: (0 + 9/3) / 10
        (1, 0.3),
        # 2 matches: 2 times 1/3, 8 times 2/3: (2/3 + 16/3) / 10
        (2, 0.6),
        # 3 matches: 3 times 2/3, 7 times 1: (2 + 7) / 10
        (3, 0.9),
        # 4 matches: always 3 or more are left
        (4, 1.0),
        (10, 1.0),
    ],
)
def test_one_annotator_is_left_out_in_turn(matches, accuracy):
    annotators = ["cat"] * matches + [f"other {i}" for i in range(10 - matches)]
    assert vqa_accuracy("cat", annotators) == pytest.approx(accuracy, abs=1e-12)


@pytest.mark.parametrize(
    ("prediction", "answers", "accuracy"),
    [
        # The annotators differ, so all is normalised: articles, case, number words, contractions.
        ("The Dogs", ["dogs"] * 4 + ["cat"] * 6, 1.0),
        ("two", ["2"] * 5 + ["three"] * 5, 1.0),
        ("none", ["0"] * 5 + ["1"] * 5, 1.0),
        ("dont", ["don't"] * 4 + ["do"] * 6, 1.0),
        # A comma between letters becomes a blank; beside a blank it goes, and in 1,000 it goes.
        ("red,blue", ["red blue"] * 4 + ["red"] * 6, 1.0),
        ("red, blue", ["red blue"] * 4 + ["red"] * 6, 1.0),
        ("1,000", ["1000"] * 4 + ["1"] * 6, 1.0),
        # A period goes unless a digit follows.
        ("st. james", ["st james"] * 4 + ["james"] * 6, 1.0),
        ("2.5", ["2.5"] * 4 + ["25"] * 6, 1.0),
        # After normalising three say "dog": (3 * 2/3 + 7 * 1) / 10.
        ("dog", ["a dog", "Dog", "dog."] + ["cat"] * 7, 0.9),
        # All agree: nothing is normalised, only blanks, tabs and newlines at the ends go.
        ("Yes", ["yes"] * 10, 0.0),
        ("the yes", ["yes"] * 10, 0.0),
        (" yes\n", ["yes"] * 10, 1.0),
        ("wine\tglass", ["wine glass "] * 9 + ["wine glass"], 1.0),
        # They agree once blanks are gone, so still nothing is normalised.
        ("2", ["two", "two "] * 5, 0.0),
        # One dissenter is enough: now "Yes" is normalised.
        ("Yes", ["yes"] * 9 + ["no"], 1.0),
        ("two", ["2"] * 9 + ["3"], 1.0),
    ],
)
def test_when_and_how_answers_are_normalised(prediction, answers, accuracy):
    assert vqa_accuracy(prediction, answers) == pytest.approx(accuracy, abs=1e-12)
