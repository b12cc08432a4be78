"""Batches: the tower once for an image, a canvas each, answers in order."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipvil_mmf.data.images import BadImageError
from clipvil_mmf.hub import Answerer
from clipvil_mmf.inference.batches import Sample, in_batches, windows
from tests.test_hub import LANDSCAPE, PORTRAIT, SENTENCES

WORDS = ("red", "dog", "couch", "man", "old", "tree", "house", "big")


def pictures(count: int) -> list[Image.Image]:
    """Landscape and portrait ones, each another."""
    kinds = itertools.cycle([LANDSCAPE, PORTRAIT])
    return [image.rotate(5 * number) for number, image in zip(range(count), kinds, strict=False)]


@pytest.fixture
def seen(model: Answerer) -> list[int]:
    """How many images the tower was given, call by call."""
    seen: list[int] = []
    model.network.image_encoder.register_forward_pre_hook(
        lambda module, inputs: seen.append(len(inputs[0]))
    )
    return seen


def close(found, expected) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert [label for label, _ in one] == [label for label, _ in other]
        assert [s for _, s in one] == pytest.approx([s for _, s in other], abs=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
@pytest.mark.parametrize("workers", [0, 3])
def test_neither_batches_nor_workers_change_an_answer(model, seen, batch_size, workers) -> None:
    images = pictures(7)
    samples = [(image, f"is it a {word}?") for word in WORDS[:3] for image in images]
    expected = [model.answer(image, question) for image, question in samples]
    seen.clear()
    close(model(samples, batch_size=batch_size, workers=workers), expected)
    assert sum(seen) == 7 and max(seen) <= batch_size
    mappings = ({"image": image, "question": question} for image, question in samples)
    found = model(mappings, batch_size=batch_size, workers=workers)
    assert iter(found) is found
    close(list(found), expected)


def test_an_image_with_many_questions_is_encoded_once(model, seen) -> None:
    questions = [f"is the {word} red?" for word in WORDS]
    expected = [model.answer(LANDSCAPE, question) for question in questions]
    seen.clear()
    close(model.answer(LANDSCAPE, questions, batch_size=3), expected)
    assert seen == [1]


def test_a_list_of_images_at_once_is_not_one_forward_pass(model, seen) -> None:
    model.answer(pictures(20), SENTENCES[0], batch_size=4)
    assert max(seen) == 4 and sum(seen) == 20
    seen.clear()
    model.answer(pictures(20), SENTENCES[0])
    assert max(seen) == 8


def test_an_iterator_is_read_as_it_is_needed(model, seen) -> None:
    taken = itertools.count()
    endless = (({"image": LANDSCAPE, "question": f"{n}?"}) for n in taken)
    found = model(endless, batch_size=2)
    assert len(list(itertools.islice(found, 40))) == 40
    assert next(taken) < 80
    found.close()


def test_questions_that_follow_on_one_image_stay_together() -> None:
    samples = [Sample((f"{n // 3}.png",), str(n)) for n in range(30)]
    found = list(windows(iter(samples), 1))
    assert [sample for window in found for sample in window] == samples
    assert [len(window) for window in found] == [6, 6, 6, 6, 6]
    # One image with no end.
    assert [len(w) for w in windows([Sample(("a",), "?")] * 20, 1)] == [8, 8, 4]


def test_a_canvas_that_is_rare_is_not_waited_for() -> None:
    """The answers behind it come before the end."""
    samples = [Sample((n,), "?") for n in range(200)]
    done = []

    def answer(batch):
        assert len({picture.shape for picture in batch.pictures}) == 1
        done.append(len(batch.rows))
        return batch.rows

    def read(images):
        return [np.zeros((3, 4, 5 if images[0] else 6), np.uint8)]

    found = in_batches(samples, read, answer, batch_size=4, workers=0)
    assert next(found) == 0 and sum(done) < 50
    assert list(found) == list(range(1, 200))


def test_images_are_read_once_ahead_and_by_workers() -> None:
    samples = [Sample((n // 2,), "?") for n in range(100)]
    lock, reading = threading.Lock(), []

    def read(images):
        with lock:
            reading.append(images[0])
        return [np.zeros((3, 2, 2), np.uint8)]

    found = in_batches(samples, read, lambda batch: batch.rows, batch_size=4, workers=3)
    assert next(found) == 0
    assert len(reading) <= 12  # and not all of them
    assert list(found) == list(range(1, 100))
    assert sorted(reading) == list(range(50))


def test_bad_images_end_it_or_stand_for_their_answers(model, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    samples = [(LANDSCAPE, "a?"), (tmp_path / "bad.png", "b?"), (PORTRAIT, "c?")]
    with pytest.raises(BadImageError, match=r"bad\.png cannot be decoded"):
        model(samples)
    first, bad, last = model([*samples], return_errors=True)
    assert isinstance(bad, BadImageError)
    close([first, last], [model.answer(LANDSCAPE, "a?"), model.answer(PORTRAIT, "c?")])


@pytest.mark.parametrize(
    ("samples", "options", "message"),
    [
        ([(LANDSCAPE,)], {}, r"sample 0: got a tuple, expected \(image, question\) or a mapping"),
        ([{"img": 1}], {}, r"sample 0: got the keys \['img'\], expected image and question"),
        ([(LANDSCAPE, "?"), (LANDSCAPE, 3)], {}, "sample 1: question: got 3, expected a text"),
        ([(3, "?")], {}, "sample 0: image: got 3, expected a PIL image, a file, an http"),
        ([([LANDSCAPE] * 2, "?")], {}, "sample 0: 2 images for a question of the task vqa: expe"),
        ("image.png", {}, "samples: got a str, expected a list"),
        ([(LANDSCAPE, "?")], {"batch_size": 0}, "batch_size: got 0, expected at least 1"),
        ([(LANDSCAPE, "?")], {"workers": -1}, "workers: got -1, expected at least 0"),
        ([(LANDSCAPE, "?")], {"top_k": 0}, "top_k: got 0, expected at least 1"),
    ],
)
def test_what_is_not_a_sample_is_named(model, samples, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        model(samples, **options)


def test_no_questions_have_no_answers(model) -> None:
    assert model([]) == [] and list(model(iter([]))) == []
