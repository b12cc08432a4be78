from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mmf_bridge.finder

mmf_bridge.finder.install()

from mmf.common.registry import registry  # noqa: E402  (MMF imports only on the bridge)
from omegaconf import OmegaConf  # noqa: E402

import clipvil_mmf.data.labels  # noqa: E402
import clipvil_mmf.text.wordpiece  # noqa: E402, F401
from clipvil_mmf.data.dataset import ClipVilDataset  # noqa: E402
from clipvil_mmf.data.questions import Question  # noqa: E402
from clipvil_mmf.data.table import QuestionTable  # noqa: E402

ANSWERS = ["yes", "no", "red", "green"]


@pytest.fixture(autouse=True)
def fresh_registry(monkeypatch):
    """MMF keeps processors and configuration in a global registry."""
    monkeypatch.setitem(registry.mapping, "state", copy.copy(registry.mapping["state"]))


@pytest.fixture
def image_dir(tmp_path: Path) -> Path:
    """Five images of 8x8 pixels; every pixel of image i is i * 10."""
    for i in range(5):
        Image.fromarray(np.full((8, 8, 3), i * 10, np.uint8)).save(tmp_path / f"{i}.png")
    return tmp_path


@pytest.fixture
def questions(image_dir: Path) -> list[Question]:
    """Twelve questions, not in the order of their images; image i has the answer i % 4."""
    images = [0, 1, 2, 3, 4, 0, 1, 2, 0, 0, 1, 4]
    return [
        Question(
            100 + i,
            f"is it{' really' * (i % 3)} red?",
            str(image_dir / f"{image}.png"),
            {ANSWERS[image % 4]: 1.0, "no": 0.3} if image % 4 != 1 else {"no": 0.9},
        )
        for i, image in enumerate(images)
    ]


@pytest.fixture
def make_dataset(questions):
    """Build a dataset of the questions, as MMF's builder does."""

    def make(records=None, dataset_type="train", text=None, answers=ANSWERS, root="", **config):
        records = questions if records is None else records
        section = {
            "data_dir": "unused",
            "image_size": [8, 8],
            "processors": {
                "text_processor": {"type": "clipvil_wordpiece", "params": text or {}},
                "answer_processor": {"type": "clipvil_answer", "params": {"vocab": "dataset"}},
            },
            **config,
        }
        dataset = ClipVilDataset(
            "toy",
            OmegaConf.create(section),
            dataset_type,
            table=QuestionTable.from_questions(records, "toy.json"),
            training_questions=lambda: [question.text for question in records],
            labels=lambda: answers,
            image_root=root,
        )
        dataset.init_processors()
        return dataset

    return make
