from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from clipvil_mmf.data.batching import EpochIndices, QuestionBatchSampler, aspect_groups
from clipvil_mmf.data.images import FitPad

GOLDEN = Path(__file__).parents[1] / "golden"


def images_of(questions: int, seed: int = 0) -> np.ndarray:
    """About ten questions an image, in no order."""
    return np.random.default_rng(seed).integers(0, max(1, questions // 10), questions) * 7


def samplers(images, batch_size, world_size, **kwargs):
    return [
        QuestionBatchSampler(images, batch_size, rank=rank, world_size=world_size, **kwargs)
        for rank in range(world_size)
    ]


@pytest.mark.parametrize("group_by_image", [True, False])
@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("count", [3, 64, 203, 257])
def test_training_visits_each_question_once_in_equal_steps(count, world_size, group_by_image):
    images = images_of(count)
    ranks = samplers(images, 32, world_size, shuffle=True, seed=1, group_by_image=group_by_image)
    batches = [list(sampler) for sampler in ranks]
    assert sorted(q for rank in batches for batch in rank for q in batch) == list(range(count))
    assert {len(rank) for rank in batches} == {len(ranks[0])}
    for step in zip(*batches, strict=True):
        sizes = [len(batch) for batch in step]
        assert min(sizes) >= 1 and max(sizes) - min(sizes) <= 1
    assert all(sum(map(len, step)) == 32 for step in list(zip(*batches, strict=True))[:-2])


@pytest.mark.parametrize("group_by_image", [True, False])
@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 64, 203])
def test_evaluation_visits_each_question_once(count, world_size, group_by_image):
    images = images_of(count)
    ranks = samplers(images, 32, world_size, shuffle=False, group_by_image=group_by_image)
    batches = [list(sampler) for sampler in ranks]
    assert sorted(q for rank in batches for batch in rank for q in batch) == list(range(count))
    assert [len(rank) for rank in batches] == [len(sampler) for sampler in ranks]
    sizes = [len(batch) for rank in batches for batch in rank]
    assert min(sizes) >= 1 and max(sizes) <= -(-32 // world_size)


def test_evaluation_reads_each_image_once_in_order():
    images = images_of(203)
    batches = [b for s in samplers(images, 50, 2, shuffle=False) for b in s]
    seen = [image for batch in batches for image in dict.fromkeys(images[batch].tolist())]
    assert seen == sorted(set(images.tolist()))


def test_evaluation_without_grouping_keeps_the_order_of_the_file():
    sampler = QuestionBatchSampler(images_of(70), 32, shuffle=False, group_by_image=False)
    assert [q for batch in sampler for q in batch] == list(range(70))
    assert [len(batch) for batch in sampler] == [32, 32, 6]


def test_evaluation_cuts_an_image_with_more_questions_than_a_batch():
    sampler = QuestionBatchSampler(np.array([5] * 9 + [6]), 4, shuffle=False)
    assert list(sampler) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_grouping_cuts_at_most_one_image_at_each_border():
    images = images_of(500)
    batches = list(QuestionBatchSampler(images, 50, shuffle=True))
    read = sum(len(set(images[batch].tolist())) for batch in batches)
    assert read <= len(set(images.tolist())) + len(batches) - 1
    plain = list(QuestionBatchSampler(images, 50, shuffle=True, group_by_image=False))
    assert sum(len(set(images[batch].tolist())) for batch in plain) > 2 * read


def test_grouping_shuffles_the_questions_of_an_image_too():
    sampler = QuestionBatchSampler(np.zeros(40, dtype=int), 40, shuffle=True)
    (batch,) = sampler
    assert batch != sorted(batch)


@pytest.mark.parametrize("group_by_image", [True, False])
def test_order_depends_on_seed_and_epoch_alone(group_by_image):
    def order(seed, epoch, sampler=None):
        sampler = sampler or QuestionBatchSampler(
            images_of(200), 32, shuffle=True, seed=seed, group_by_image=group_by_image
        )
        sampler.set_epoch(epoch)
        return list(sampler)

    used = QuestionBatchSampler(
        images_of(200), 32, shuffle=True, seed=3, group_by_image=group_by_image
    )
    order(3, 0, used)
    assert order(3, 4, used) == order(3, 4)
    assert order(3, 4) != order(3, 5)
    assert order(3, 4) != order(4, 4)
    assert order(0, 1) != order(1, 0)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"batch_size": 1, "world_size": 2}, "training.batch_size is 1, for 2 processes"),
        ({"batch_size": 8, "world_size": 6}, "5 questions cannot be dealt over 6 processes"),
        ({"batch_size": 8, "rank": 1}, "rank is 1; expected 0 to 0"),
        ({"batch_size": 8, "seed": -1}, "seed is -1"),
    ],
)
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        QuestionBatchSampler(np.arange(5), shuffle=True, **kwargs)


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("shuffle", [True, False])
def test_groups_are_never_mixed_and_every_question_comes_once(world_size, shuffle):
    images = np.repeat(np.arange(30), np.random.default_rng(0).integers(1, 6, 30))
    groups = (images % 3 == 0).astype(np.int8)
    ranks = [
        QuestionBatchSampler(
            images, 8, shuffle=shuffle, rank=rank, world_size=world_size, groups=groups
        )
        for rank in range(world_size)
    ]
    orders = []
    for epoch in (0, 1):
        batches = []
        for sampler in ranks:
            sampler.set_epoch(epoch)
            mine = list(sampler)
            assert len(mine) == len(sampler)
            batches.append(mine)
        if shuffle:
            assert len({len(mine) for mine in batches}) == 1
        flat = [batch for mine in batches for batch in mine]
        assert all(len(set(groups[batch])) == 1 for batch in flat)
        assert sorted(q for batch in flat for q in batch) == list(range(len(images)))
        orders.append(flat)
    assert (orders[0] != orders[1]) is shuffle


def test_aspect_groups_are_the_recorded_ones():
    recorded = json.loads((GOLDEN / "data_side.json").read_text())["groups"]
    assert aspect_groups(np.array(recorded["sizes_wh"])).tolist() == recorded["by_factor"]["0"]


def test_aspect_groups_are_the_published_ones():
    """For each factor; the canvas is the transform's, so that a group has one."""
    golden = json.loads((GOLDEN / "aspect_groups.json").read_text())
    kept = [row for row, canvas in enumerate(golden["canvas_hw"]) if canvas is not None]
    sizes = np.array(golden["sizes_wh"])[kept]
    transform = FitPad(384, 640)
    for factor in (0, 1, 5):
        groups = aspect_groups(sizes, transform.is_portrait, factor)
        assert groups.tolist() == [golden[f"groups_k{factor}"][row] for row in kept]
        assert aspect_groups(np.array([[0, 0]]), transform.is_portrait, factor)[0] <= factor
    canvases = [(640, 384) if transform.is_portrait(*size) else (384, 640) for size in sizes]
    assert [list(canvas) for canvas in canvases] == [golden["canvas_hw"][row] for row in kept]
    assert [list(transform.resized(*size)) for size in sizes.tolist()] == [
        golden["resized_wh"][row] for row in kept
    ]


def test_nearly_square_images_go_with_their_canvas():
    """640x639 is landscape, but the transform makes it square, whose canvas is portrait."""
    groups = aspect_groups(np.array([[640, 639], [640, 640]]), FitPad(384, 640).is_portrait, 5)
    assert groups.tolist() == [6, 6]


def test_the_epoch_travels_with_the_indices():
    batches = EpochIndices(QuestionBatchSampler(images_of(10), 4, shuffle=True), 10)
    plain = QuestionBatchSampler(images_of(10), 4, shuffle=True)
    assert len(batches) == 3
    for epoch in (0, 3):
        batches.set_epoch(epoch)
        plain.set_epoch(epoch)
        assert list(batches) == [[10 * epoch + i for i in batch] for batch in plain]
