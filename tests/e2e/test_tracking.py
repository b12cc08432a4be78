"""What trackers get of a run of easy-VQA in small."""

from pathlib import Path
from types import SimpleNamespace

import torch

from clipvil_mmf.tracking import picture_of_predictions, pictures
from mmf_bridge.tracking import TRACKERS
from tests.bridge import recorder


def test_a_tracker_gets_the_same_questions_at_each_evaluation(run, monkeypatch):
    monkeypatch.setitem(TRACKERS, "recorder", recorder.NAME)
    monkeypatch.setattr(recorder.Recorder, "made", [])
    shown, stock = [], pictures.draw
    monkeypatch.setattr(pictures, "draw", lambda cells: shown.append(cells) or stock(cells))
    trainer = run("training.trackers.use=recorder", "training.trackers.images=3", "run_type=train")
    (tracker,) = recorder.Recorder.made
    assert [(step, name) for step, name, _ in tracker.pictures] == [
        (2, "val/easy_vqa/predictions"),
        (4, "val/easy_vqa/predictions"),
    ]
    assert all(picture.mode == "RGB" and picture.width > 400 for _, _, picture in tracker.pictures)
    first, second = shown
    assert [(cell.image, cell.answered[0].question) for cell in first] == [
        (cell.image, cell.answered[0].question) for cell in second
    ]
    (dataset,) = trainer.val_loader.get_datasets()
    for cell in second:
        (answered,) = cell.answered
        assert Path(cell.image).is_file() and answered.answer in dataset.labels
        assert 0 < answered.confidence < 1 and isinstance(answered.right, bool)


def test_features_are_nothing_to_draw():
    dataset = SimpleNamespace(questions_to_show=lambda indices: None)
    report = SimpleNamespace(scores=torch.zeros(1, 2))
    assert picture_of_predictions(dataset, [0], report) is None
