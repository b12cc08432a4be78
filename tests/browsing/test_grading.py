"""Scores of all answers at once are those of the rules, a question at a time."""

from __future__ import annotations

import random

import numpy as np
import pytest

from clipvil_mmf.browsing.grading import Grader
from clipvil_mmf.data.formats import stvqa, visual_genome, vizwiz, vqa_official
from clipvil_mmf.data.questions import Question
from clipvil_mmf.data.table import QuestionTable, TableBuilder
from clipvil_mmf.prediction.rules import SCORES
from clipvil_mmf.prediction.truth import Truths
from tests.browsing.small import table

WORDS = ["yes", "Yes", "YES.", "two", "2", "the  dog", "dog", "a dog\n", "dont", "don't", "red,"]


def people(format_name: str) -> QuestionTable:
    """Questions to which some annotators gave few different answers, often one alone."""
    lots = random.Random(0)
    builder = TableBuilder(format_name, "made")
    for number in range(300):
        builder.add_question(number, "what?", "a.png")
        words = lots.sample(WORDS, lots.choice([1, 1, 2, 4]))
        given = [lots.choice(words) for _ in range(lots.choice([1, 3, 10]))]
        builder.add_annotators(given, "", {"answer_type": "other"})
    return builder.build()


def labels(format_name: str) -> QuestionTable:
    lots = random.Random(1)
    builder = TableBuilder(format_name, "made")
    for number in range(100):
        known = {word: lots.choice([1.0, 0.3]) for word in lots.sample(["2", "dog", "don't"], 2)}
        builder.add(number, "what?", "a.png", {} if number % 9 == 0 else known)
    return builder.build()


@pytest.mark.parametrize(
    "made",
    [
        *(people(name) for name in (vqa_official.NAME, vizwiz.NAME)),
        *(labels(name) for name in (visual_genome.NAME, stvqa.NAME, "other")),
    ],
    ids=["official", "vizwiz", "normalised", "anls", "label"],
)
def test_scores_are_those_of_the_rule(made: QuestionTable) -> None:
    lots = random.Random(2)
    names = [*WORDS, "never said"]
    codes = np.asarray([lots.randrange(-1, len(names)) for _ in made], np.int32)
    grader = Grader(made)
    expected = [
        SCORES[grader.rule](names[code], truth.answers) if code >= 0 else 0.0
        for code, truth in zip(codes, Truths(made), strict=True)
    ]
    assert len(set(expected)) > 2
    np.testing.assert_allclose(grader.grade(codes, names), expected, atol=1e-6)


def test_an_answer_of_two_parts() -> None:
    other = QuestionTable.from_questions([Question(99, "?", "z.png", {"red": 1.0})], "other")
    both = QuestionTable.concatenate([table(), other])
    codes = np.asarray([0, 0, 0, 0, 0, 0], np.int32)
    assert Grader(both).grade(codes, ["red"]).tolist() == [0, 1, 0, 0, 0, 1]


def test_questions_that_do_not_count() -> None:
    builder = TableBuilder("official GQA JSON", "made")
    for number, balanced in enumerate(("yes", "no")):
        builder.add(number, "?", "a.png", {"red": 1.0}, {"balanced": balanced})
    found = Grader(builder.build()).grade(np.asarray([0, 0], np.int32), ["red"])
    assert found[0] == 1 and np.isnan(found[1])


def test_a_choice() -> None:
    builder = TableBuilder("A-OKVQA", "made")
    for number, correct in enumerate(("cat", "dog")):
        builder.add(number, "?", "a.png", {"animal": 1.0})
        builder.add_choices(("cat", "dog"), correct)
    grader = Grader(builder.build(), chosen=True)
    assert grader.grade(np.asarray([0, 0], np.int32), ["cat"]).tolist() == [1, 0]


def test_right_answers_and_how_often() -> None:
    grader = Grader(table())
    assert grader.with_answer("RING").tolist() == [True, False, False, False, False]
    assert not grader.with_answer("purple").any()
    assert set(grader.frequent_answers(3)) <= {"circle", "ring", "red", "yes", "no", "box"}


def test_losses_are_of_the_best_scored_right_answers() -> None:
    names = ["ring", "circle", "red"]
    owners, codes = np.asarray([0, 0, 1]), np.asarray([0, 1, 2], np.int32)
    sure = np.asarray([0.5, 0.25, 0.0], np.float32)
    found = Grader(table()).losses(owners, codes, sure, names)
    np.testing.assert_allclose(found[:2], [-np.log(0.25), -np.log(1e-6)])
    assert np.isnan(found[2:]).all()
