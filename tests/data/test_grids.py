"""Grid features in files: what a batch gets of them, and what is said about bad files."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from clipvil_mmf.config import ConfigError
from clipvil_mmf.data.grids import (
    BadGridsError,
    GridStore,
    ImageGrid,
    image_key,
    schema,
    writing_shard,
)


def grid(height: int, width: int, channels: int = 4, dtype=np.float16) -> np.ndarray:
    random = np.random.default_rng(height)
    return random.normal(size=(height, width, channels)).astype(dtype)


def write(folder: Path, grids: dict[str, ImageGrid], dtype: str = "fp16", name="0") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "features.json").write_text(json.dumps({"layout": "compact"}))
    with writing_shard(folder / f"{name}.arrow", dtype) as shard:
        for image, each in grids.items():
            shard.add(image_key(image), each)
    return folder


LANDSCAPE, PORTRAIT = "val2014/a.jpg", "val2014/b.jpg"
IMAGES = {LANDSCAPE: ImageGrid(grid(2, 3)), PORTRAIT: ImageGrid(grid(3, 2))}


def test_round_trip_in_any_order(tmp_path: Path) -> None:
    write(tmp_path / "val", {LANDSCAPE: IMAGES[LANDSCAPE]})
    write(tmp_path / "train", {PORTRAIT: IMAGES[PORTRAIT]})
    store = GridStore([PORTRAIT, LANDSCAPE], tmp_path)
    assert len(store) == 2 and store.sizes.tolist() == [[2, 3], [3, 2]]
    for each in (store, pickle.loads(pickle.dumps(store))):
        first, second = each.read([0, 1])
        assert np.array_equal(first.features, IMAGES[PORTRAIT].features)
        assert np.array_equal(second.features, IMAGES[LANDSCAPE].features)
        assert not second.features.flags.owndata  # of the mapped file


def test_a_batch_of_one_shape_has_no_mask(tmp_path: Path) -> None:
    store = GridStore([LANDSCAPE], write(tmp_path, IMAGES))
    batch = store.batch([0, 0])
    assert batch.keys() == {"grid_features"}
    features = batch["grid_features"]
    assert features.shape == (2, 4, 2, 3) and features.dtype == torch.float16
    assert features.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(features[1].permute(1, 2, 0).numpy(), IMAGES[LANDSCAPE].features)


def test_a_batch_of_two_shapes_is_padded_and_masked(tmp_path: Path) -> None:
    batch = GridStore(list(IMAGES), write(tmp_path, IMAGES)).batch([0, 1])
    assert batch["grid_features"].shape == (2, 4, 3, 3)
    shown = torch.ones(2, 3, 3, dtype=torch.long)
    shown[0, 2], shown[1, :, 2] = 0, 0
    assert torch.equal(batch["grid_mask"], shown)
    assert not batch["grid_features"].permute(0, 2, 3, 1)[shown == 0].any()


def test_the_padding_of_an_image_is_masked_where_asked(tmp_path: Path) -> None:
    mask = np.array([[1, 1, 0], [1, 1, 0]], np.uint8)
    path = write(tmp_path, {LANDSCAPE: ImageGrid(grid(2, 3), mask)})
    assert "grid_mask" not in GridStore([LANDSCAPE], path).batch([0])
    batch = GridStore([LANDSCAPE], path, masks_padding=True).batch([0])
    assert batch["grid_mask"].tolist() == [mask.tolist()]


def test_keys_of_absolute_and_relative_paths() -> None:
    assert image_key("/usr/lib/easy_vqa/data/train/images/12.png") == "train/images/12"
    assert image_key("val2014/COCO_val2014_000000000042.jpg").startswith("val2014/COCO")


def test_what_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "val", IMAGES)
    with pytest.raises(BadGridsError, match=r"no grid features of 1 images, the first is 'c\.jpg'"):
        GridStore([LANDSCAPE, "c.jpg"], path)
    shard = path / "0.arrow"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadGridsError, match=r"0\.arrow is not a shard .*extract it again"):
        GridStore([LANDSCAPE], path)
    shard.write_bytes(whole)
    (path / "features.json").write_text("{}")
    with pytest.raises(BadGridsError, match=r"val has grid features for MMF's own models"):
        GridStore([LANDSCAPE], path)
    (path / "features.json").write_text("[")
    with pytest.raises(BadGridsError, match=r"features\.json cannot be read"):
        GridStore([LANDSCAPE], path)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ("[" * 100_000, r"features\.json cannot be read"),
        ('{"layout": "compact", "content": []}', r"features\.json: its content is \[\]; expected"),
    ],
)
def test_odd_descriptions_are_named(tmp_path: Path, description: str, message: str) -> None:
    (write(tmp_path, IMAGES) / "features.json").write_text(description)
    with pytest.raises(BadGridsError, match=message):
        GridStore([LANDSCAPE], tmp_path)


def test_a_description_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = write(tmp_path, IMAGES) / "features.json"
    file.write_text(file.read_text(), encoding="utf-8-sig")
    assert len(GridStore([LANDSCAPE], tmp_path)) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 0}, "has 24 numbers and a mask of 0 for 0x3 cells"),
        ({"height": -2, "width": -3}, "for -2x-3 cells"),
        ({"width": 5}, "for 2x5 cells"),
        ({"features": []}, "has 0 numbers"),
        ({"mask": [1, 1]}, "a mask of 2 for 2x3 cells"),
        ({"height": None}, "some of its values are missing"),
        ({"features": None}, "some of its values are missing"),
    ],
)
def test_grids_of_other_sizes_than_they_say_are_named(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    write(tmp_path, {})
    numbers = list(np.zeros(24, np.float16))
    row = {"image": "val2014/a", "height": 2, "width": 3, "features": numbers, "mask": [], **change}
    kinds = schema("fp16")
    with pa.OSFile(str(tmp_path / "0.arrow"), "wb") as file, pa.ipc.new_file(file, kinds) as writer:
        columns = [pa.array([row[field.name]], field.type) for field in kinds]
        writer.write_batch(pa.record_batch(columns, schema=kinds))
    with pytest.raises(BadGridsError, match=rf"0\.arrow is not a shard .*{message}"):
        GridStore([LANDSCAPE], tmp_path)


@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_grids_that_are_not_finite_are_named(tmp_path: Path, dtype: str, value: float) -> None:
    odd = grid(2, 3)
    odd[1, 2, 3] = value
    store = GridStore([LANDSCAPE], write(tmp_path, {LANDSCAPE: ImageGrid(odd)}, dtype))
    with pytest.raises(BadGridsError, match=r"0\.arrow: some numbers of the grid of val2014/a are"):
        store.batch([0])


def test_what_files_hold_names_the_field_of_a_batch(tmp_path: Path) -> None:
    raw = write(tmp_path / "raw", {LANDSCAPE: IMAGES[LANDSCAPE]})
    other = write(tmp_path / "other", {PORTRAIT: IMAGES[PORTRAIT]})
    (other / "features.json").write_text('{"layout": "compact", "content": "projected"}')
    assert GridStore([LANDSCAPE], raw).batch([0]).keys() == {"grid_features"}
    assert GridStore([PORTRAIT], other).batch([0]).keys() == {"projected_features"}
    with pytest.raises(BadGridsError, match=r"raw has a tower's .*other projected ones; expected"):
        GridStore([*IMAGES], tmp_path)
    (other / "features.json").write_text('{"layout": "compact", "content": "pooled"}')
    with pytest.raises(BadGridsError, match=r"its content is 'pooled'; expected one of raw, proj"):
        GridStore([PORTRAIT], other)


def test_features_of_two_models_in_one_batch(tmp_path: Path) -> None:
    grids = {LANDSCAPE: ImageGrid(grid(2, 3)), PORTRAIT: ImageGrid(grid(3, 2, channels=8))}
    store = GridStore(list(grids), write(tmp_path, grids))
    with pytest.raises(BadGridsError, match="of 4 and 8 channels are in one batch"):
        store.batch([0, 1])


def test_a_dataset_reads_them(make_dataset, questions, tmp_path: Path) -> None:
    paths = list(dict.fromkeys(question.image for question in questions))
    grids = {
        path: ImageGrid(grid(3, 2) if row % 2 else grid(2, 3)) for row, path in enumerate(paths)
    }
    path = write(tmp_path / "features", grids)
    dataset = make_dataset(features={"path": str(path)}, group_by_aspect_ratio=True)
    batch = dataset.__getitems__([0, 5, 1])
    assert "images" not in batch and batch["grid_features"].shape == (2, 4, 3, 3)
    assert batch.image_index.tolist() == [0, 0, 1]
    for indices in dataset.build_batch_sampler(4, True, 0, 0, 1):
        assert "grid_mask" not in dataset.__getitems__(indices)  # one canvas a batch
    with pytest.raises(ConfigError, match="in_memory: true, but with features"):
        make_dataset(features={"path": str(path)}, in_memory=True)
