"""Explained answers: the maps' places on the photo, and what stays as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clipvil_mmf.explaining import METHODS, ExplainError, Photo, Seen
from clipvil_mmf.explaining.photo import on_photos
from tests.explaining.asked import CROSS_MODAL, PHOTO, QUESTION, asked, solid


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fusion", [{}, CROSS_MODAL], ids=["joint", "cross_modal"])
def test_maps_are_of_the_photos_size(method: str, fusion) -> None:
    model = asked(**fusion)
    found = model.answer(PHOTO, QUESTION, top_k=3, explain=method)
    assert found.method == method and found.label == found.answers[0][0]
    assert found.map.shape == (40, 50) and found.map.dtype == np.float32
    assert found.map.min() >= 0 and found.map.sum() == pytest.approx(1, abs=1e-4)
    assert found.words == ("What", "color", "is", "the", "man", "'", "s", "umbrella", "?")
    if method == "grad_cam":
        assert found.word_maps is None
    else:
        assert found.word_maps[0].shape == (9, 40, 50)
        assert not np.allclose(found.word_maps[0][1], found.word_maps[0][4])


def test_answers_stay_what_they_are_and_nothing_is_left_behind(monkeypatch) -> None:
    model = asked()
    kernel, used = F.scaled_dot_product_attention, []
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda *a, **k: used.append(1) or kernel(*a, **k)
    )
    plain = model.answer(PHOTO, QUESTION)
    assert len(used) == 3
    with torch.inference_mode():
        explained = model.answer(PHOTO, QUESTION, explain=True)
    assert len(used) == 6  # the same kernel
    assert explained.method == "relevance"
    assert [label for label, _ in explained.answers] == [label for label, _ in plain]
    scores = [score for _, score in plain]
    assert [score for _, score in explained.answers] == pytest.approx(scores, abs=1e-6)
    for module in model.network.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks
    assert all(parameter.grad is None for parameter in model.network.parameters())


def test_lists_and_one_look(monkeypatch) -> None:
    model, looks = asked(), []
    model.network.image_encoder.register_forward_hook(lambda *_: looks.append(1))
    found = model.answer(PHOTO, [QUESTION, "is it red?"], explain="rollout")
    assert [len(one.words) for one in found] == [9, 4] and len(looks) == 1
    seen = model.look(PHOTO)
    for label in model.answers[:2]:
        assert model.explain(seen, QUESTION, label=label).label == label
    assert len(looks) == 2


def test_what_is_wrong_is_said() -> None:
    model = asked()
    with pytest.raises(ExplainError, match=r"unknown method 'rolout'\. Did you mean 'rollout'\?"):
        model.answer(PHOTO, QUESTION, explain="rolout")
    with pytest.raises(ValueError, match="'purple' is not among the 13 answers"):
        model.explain(PHOTO, QUESTION, label="purple")


def test_the_default_is_the_first_method_that_fits(monkeypatch) -> None:
    model = asked()
    assert model.methods == tuple(METHODS)
    assert model.answer(PHOTO, QUESTION, explain=True).method == "relevance"
    model = asked()
    monkeypatch.setattr(model.network.fusion, "attention_steps", list)
    assert model.methods == ("grad_cam",)
    assert model.answer(PHOTO, QUESTION, explain=True).method == "grad_cam"
    assert model.explain(PHOTO, QUESTION).method == "grad_cam"
    with pytest.raises(ExplainError, match="JointFusion does not say which tokens attend to which"):
        model.explain(PHOTO, QUESTION, "rollout")


def test_a_method_is_a_function_and_a_line(monkeypatch) -> None:
    monkeypatch.setitem(METHODS, "first", lambda forward: torch.eye(forward.visual_length)[None])
    assert asked().answer(PHOTO, QUESTION, explain="first").map.argmax() == 0


def test_words_of_a_question() -> None:
    model = asked()
    words = model._tokenizer.words("  Is the UNAFFABLE dog red?")
    ids = model.texts("  Is the UNAFFABLE dog red?")[0][0].tolist()
    assert [word for word, _ in words] == ["Is", "the", "UNAFFABLE", "dog", "red", "?"]
    assert [place for _, places in words for place in places] == list(range(1, len(ids) - 1))
    pieces = [model.tokens[ids[place]] for place in words[3][1]]
    assert "".join(piece.removeprefix("##") for piece in pieces) in ("dog", "[UNK]")
    long = model._tokenizer.words("red " * 40)
    assert len(long) == 18 and model._tokenizer.words("") == []


@pytest.mark.parametrize(
    ("width", "height", "cell", "at"),
    [
        # On 64 x 96: 64 rows, 6 of the 96 columns to the left and right are padding.
        (84, 64, 0, (0, 0)),
        (84, 64, 5, (63, 83)),
        # 32 rows of 96 columns, 16 above and below.
        (300, 100, 2, (0, 299)),
        (300, 100, 3, (99, 0)),
        # 96 x 64, upright.
        (64, 84, 4, (83, 0)),
    ],
)
def test_maps_are_cut_to_the_photo(width: int, height: int, cell: int, at) -> None:
    model = asked()
    seen = model.look(solid(width, height))
    cells = F.one_hot(torch.tensor(cell), 6).view(1, 1, 6)
    (maps,) = on_photos(cells, seen)
    assert maps.shape == (1, height, width)
    assert maps[0].max() == pytest.approx(maps[0][at], rel=1e-4)
    assert maps[0].sum() == pytest.approx(1, abs=1e-4)


def test_padding_gets_no_mass() -> None:
    """The middle of the photo is the middle of the canvas, wherever the padding is."""
    model = asked()
    for size in ((300, 100), (84, 64), (100, 300)):
        (maps,) = on_photos(torch.ones(1, 1, 6), model.look(solid(*size)))
        np.testing.assert_allclose(maps[0], 1 / (size[0] * size[1]), rtol=1e-3)
    assert not on_photos(torch.zeros(1, 2, 6), model.look(PHOTO))[0].any()


def test_stretched_photos() -> None:
    model = asked(images={"image_transform": "stretch", "image_size": [64, 96]})
    (maps,) = on_photos(F.one_hot(torch.tensor(5), 6).view(1, 1, 6), model.look(solid(30, 200)))
    assert maps[0].max() == maps[0][199, 29]


def test_cells_that_were_dropped() -> None:
    """Of 70 pixels a grid of stride 32 has seen 64; the others are as their neighbours."""
    photo = Photo(solid(70, 70), (0, 0, 70, 70))
    seen = Seen((photo,), (70, 70), torch.zeros(1, 8, 2, 2), (64, 64))
    (maps,) = on_photos(torch.tensor([[[0.0, 1, 0, 0]]]), seen)
    half = maps[0].sum(0).cumsum()
    assert half[31] < 0.25 and maps[0, 0, 69] == maps[0, 0, 60]


@pytest.mark.parametrize("pairing", ["side_by_side", "two_passes"])
@pytest.mark.parametrize("method", METHODS)
def test_tasks_with_two_images(pairing: str, method: str) -> None:
    images = {"image_transform": "stretch", "image_size": [64, 64]}
    model = asked(task={"type": "nlvr2", "params": {"pairing": pairing}}, images=images)
    found = model.answer([PHOTO, solid(30, 30)], "Both are red.", explain=method)
    assert [one.shape for one in found.maps] == [(40, 50), (30, 30)]
    assert found.maps[0].sum() == pytest.approx(1, abs=1e-4)


def test_pictures_side_by_side_have_a_map_each() -> None:
    images = {"image_transform": "stretch", "image_size": [64, 64]}
    seen = asked(task="nlvr2", images=images).look([solid(64, 64), solid(64, 64)])
    cells = F.one_hot(torch.tensor(3), 8).view(1, 1, 8)  # 2 x 4: the upper right one
    left, right = on_photos(cells, seen)
    assert right[0, 0, 63] == right[0].max()
    assert left[0, 0, 31] == 0 < right[0, 0, 31]


def test_exif_rotation_turns_the_map_too(tmp_path) -> None:
    image = solid(50, 40)
    image.getexif()[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=image.getexif())
    images = {"image_transform": "fit_pad", "image_size": [64, 96], "exif_rotation": "apply"}
    assert asked().answer(tmp_path / "turned.jpg", QUESTION, explain=True).map.shape == (40, 50)
    turned = asked(images=images).answer(tmp_path / "turned.jpg", QUESTION, explain=True)
    assert turned.map.shape == (50, 40)
