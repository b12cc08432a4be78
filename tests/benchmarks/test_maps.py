"""The benchmark of maps: its parts, and a line for each method."""

from __future__ import annotations

import runpy
from dataclasses import replace

import numpy as np
import pytest
import torch

from clipvil_mmf.data import easy_vqa_files
from tests.bridge.runs import ROOT
from tests.explaining.asked import asked

MAPS = runpy.run_path(str(ROOT / "benchmarks" / "maps.py"))


def test_the_objects_box() -> None:
    questions = easy_vqa_files.read_questions("test")[:200:20]
    for question in questions:
        rows, columns = MAPS["object_box"](question.image)
        assert 5 <= rows.stop - rows.start <= 50 and 5 <= columns.stop - columns.start <= 50


def test_what_is_removed() -> None:
    kept = MAPS["kept_tokens"](torch.arange(20.0))
    assert kept.sum(1).tolist() == [20, 18, 16, 14, 12, 10, 8, 6, 4, 2] * 2
    assert kept[9].nonzero().flatten().tolist() == [0, 1]  # the most relevant went first
    assert kept[19].nonzero().flatten().tolist() == [18, 19]
    assert MAPS["area"](np.ones(10)) == 1 and MAPS["area"](np.arange(10) / 9) == pytest.approx(0.5)


def test_masked_tokens_are_removed_ones() -> None:
    model = asked(images={"image_transform": "stretch", "image_size": [64, 64]})
    share, found = MAPS["measure"](model, easy_vqa_files.read_questions("test")[:4])
    assert 0 < share < 0.7
    assert list(found) == ["relevance", "rollout", "grad_cam", "random"]
    for inside, most, least in found.values():
        assert 0 <= inside <= 1 and 0 <= most <= 1 and 0 <= least <= 1


def test_questions_that_are_answered_right() -> None:
    questions = easy_vqa_files.read_questions("test")[:12]
    model = asked()
    given = [model.answer(question.image, question.text, 1)[0][0] for question in questions]
    known = [
        replace(question, answers={answer: 1.0} if number % 3 else {})
        for number, (question, answer) in enumerate(zip(questions, given, strict=True))
    ]
    assert MAPS["answered_right"](model, known, 5) == [q for q in known if q.answers][:5]
