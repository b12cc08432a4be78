"""Region features in their three layouts: values, boxes, padding, what is said about bad files."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from clipvil_mmf.config import ConfigError, from_config
from clipvil_mmf.data import regions as regions_module
from clipvil_mmf.data.regions import (
    BadRegionsError,
    RegionParams,
    RegionStore,
    _lmdb_reader,
    pad_regions,
)

LAYOUTS = ("npz", "mmf", "lmdb")
# An image of 200x100 (width x height) each, with 3 and 5 regions.
IMAGES = {"COCO_val2014_000000000042": 3, "n17": 5}


def content(regions: int) -> dict[str, Any]:
    random = np.random.default_rng(regions)
    left, top = random.uniform(0, 90, (2, regions))
    boxes = np.stack([left, top / 2, left + 110, top / 2 + 55], 1).astype(np.float32)
    features = random.normal(size=(regions, 6)).astype(np.float32)
    return {"features": features, "boxes": boxes, "width": 200, "height": 100}


def write(folder: Path, layout: str, images: dict[str, dict[str, Any]]) -> Path:
    """The files of images in a layout; returns what `path` has to be."""
    if layout == "lmdb":
        path = folder / "features.lmdb"
        entries = {
            (b"42" if name.startswith("COCO") else name.encode()): {
                "features": value["features"],
                **info(value),
            }
            for name, value in images.items()
        }
        with lmdb.open(str(path), map_size=2**20) as env, env.begin(write=True) as txn:
            for key, entry in entries.items():
                txn.put(key, pickle.dumps(entry))
            txn.put(b"keys", pickle.dumps(list(entries)))
        return path
    below = folder / "val2014"
    below.mkdir()
    for name, value in images.items():
        if layout == "npz":
            np.savez(below / f"{name}.npz", **value)
        else:
            np.save(below / f"{name}.npy", value["features"])
            np.save(below / f"{name}_info.npy", info(value))
    return folder


def info(value: dict[str, Any]) -> dict[str, Any]:
    return {
        "bbox": value["boxes"],
        "image_width": value["width"],
        "image_height": value["height"],
        "num_boxes": len(value["boxes"]),
    }


def store(path: Path, images: list[str] | None = None, **params: Any) -> RegionStore:
    names = [f"some/folder/{name}.jpg" for name in images or IMAGES]
    return RegionStore(names, RegionParams(path=str(path), **params))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path: Path, layout: str) -> None:
    images = {name: content(regions) for name, regions in IMAGES.items()}
    regions = store(write(tmp_path, layout, images))
    assert len(regions) == 2
    read = dict(zip(reversed(IMAGES), regions.read([1, 0]), strict=True))
    for name, value in images.items():
        assert torch.equal(read[name].features, torch.from_numpy(value["features"]))
        scaled = value["boxes"] / np.array([200, 100, 200, 100], np.float32)
        assert torch.equal(read[name].boxes, torch.from_numpy(scaled))
        assert read[name].features.dtype == read[name].boxes.dtype == torch.float32


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_first_regions_are_kept(tmp_path: Path, layout: str) -> None:
    images = {name: content(regions) for name, regions in IMAGES.items()}
    path = write(tmp_path, layout, images)
    read = store(path, max_regions=4).read([0, 1])
    assert [len(image.features) for image in read] == [3, 4]
    assert [len(image.boxes) for image in read] == [3, 4]
    assert torch.equal(read[1].features, torch.from_numpy(images["n17"]["features"][:4]))


def test_a_batch_is_padded_and_masked(tmp_path: Path) -> None:
    images = {name: content(regions) for name, regions in IMAGES.items()}
    read = store(write(tmp_path, "npz", images)).read([0, 1])
    batch = pad_regions(read)
    assert batch["region_features"].shape == (2, 5, 6) and batch["region_boxes"].shape == (2, 5, 4)
    assert batch["region_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]
    assert torch.equal(batch["region_features"][0, :3], read[0].features)
    assert batch["region_features"][0, 3:].abs().sum() == 0
    assert torch.equal(batch["region_boxes"][1], read[1].boxes)


def test_splits_and_workers_share_an_lmdb(tmp_path: Path) -> None:
    """LMDB refuses to open a file twice in one process; nothing is open before the first read."""
    images = {name: content(regions) for name, regions in IMAGES.items()}
    path = write(tmp_path, "lmdb", images)
    train = store(path, max_regions=4)
    assert _lmdb_reader(str(path)).env is None
    sent = pickle.loads(pickle.dumps(train))  # as to a spawned worker
    assert [len(image.features) for image in sent.read([0, 1])] == [3, 4]
    val = store(path, ["n17"])  # checked while it is open
    assert len(val.read([0])[0].features) == 5
    in_workers = DataLoader(
        [0, 1], batch_size=1, num_workers=2, collate_fn=train.read, multiprocessing_context="fork"
    )
    assert [len(batch[0].features) for batch in in_workers] == [3, 4]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_missing_images_are_counted_and_named(tmp_path: Path, layout: str) -> None:
    path = write(tmp_path, layout, {"n17": content(5)})
    with pytest.raises(BadRegionsError, match=r"has no region features of 2 images.*'n18'"):
        store(path, ["n17", "n18", "COCO_val2014_000000000042", "n18"])


def test_missing_path() -> None:
    with pytest.raises(BadRegionsError, match=r"/nowhere do not exist.*Correct features\.path"):
        store(Path("/nowhere"))


def test_an_image_that_is_there_twice(tmp_path: Path) -> None:
    write(tmp_path, "npz", {"n17": content(5)})
    np.savez(tmp_path / "n17.npz", **content(5))
    with pytest.raises(BadRegionsError, match=r"n17 are there twice, in .*n17\.npz and .*n17\.npz"):
        store(tmp_path, ["n17"])


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
@pytest.mark.parametrize(
    ("layout", "change", "message"),
    [
        ("npz", {"boxes": np.zeros((4, 4))}, r"n17\.npz: .*\(5, 6\) and boxes \(4, 4\); expected"),
        ("npz", {"features": np.zeros((0, 6)), "boxes": np.zeros((0, 4))}, r"R and C being at"),
        ("npz", {"features": np.zeros((5, 0))}, r"n17\.npz: features have shape \(5, 0\)"),
        ("npz", {"features": np.ones((5, 6), complex)}, r"n17\.npz .* values of type complex128"),
        (
            "npz",
            {"features": np.full((5, 6), "1")},
            r"n17\.npz cannot be read: it has values of ty",
        ),
        (
            "lmdb",
            {"features": np.full((5, 6), None)},
            r"entry n17 .* values of type object, not num",
        ),
        (
            "npz",
            {"boxes": np.tile(np.float32([150, 60, 40, 30]), (5, 1))},
            r"n17\.npz: some boxes end before they begin\. Are they left, top, width, height",
        ),
        ("npz", {"width": 100}, r"n17\.npz: boxes reach from .* of an image of 100x100 \(width"),
        ("mmf", {"width": 100}, r"n17\.npy: boxes reach from"),
        ("lmdb", {"width": 100}, r"features\.lmdb, entry n17: boxes reach from"),
        ("npz", {"boxes": np.full((5, 4), np.nan)}, r"n17\.npz: boxes reach from nan to nan"),
        ("npz", {"boxes": np.full((5, 4), 0.9)}, r"image of 200x100 all lie within 1 pixel.*fract"),
        ("mmf", {"boxes": np.full((5, 4), 0.9)}, r"image of 200x100 all lie within 1 pixel.*fract"),
        (
            "npz",
            {"features": np.full((5, 6), np.nan)},
            r"n17\.npz: some are infinite or no numbers",
        ),
        ("npz", {"features": np.full((5, 6), 1e300)}, r"n17\.npz: some are infinite or no numbers"),
        ("npz", {"features": np.full((5, 6), "a")}, r"n17\.npz cannot be read"),
        ("npz", {"features": np.float32(1)}, r"n17\.npz: features have shape \(\)"),
        ("lmdb", {"width": 0}, r"entry n17: an image of 0x100"),
        ("npz", {"width": np.nan}, r"n17\.npz: an image of nanx100"),
        ("npz", {"width": np.arange(2)}, r"n17\.npz cannot be read"),
        ("mmf", {"width": None}, r"n17\.npy cannot be read"),
    ],
)
def test_bad_content(tmp_path: Path, layout: str, change: dict[str, Any], message: str) -> None:
    regions = store(write(tmp_path, layout, {"n17": {**content(5), **change}}), ["n17"])
    with pytest.raises(BadRegionsError, match=message):
        regions.read([0])


def test_what_numpy_writes_in_other_ways_is_the_same(tmp_path: Path) -> None:
    value = content(5)
    written = {
        "features": np.asfortranarray(value["features"].astype(">f8")),
        "boxes": value["boxes"].astype(">f4"),
        "width": np.array([200]),
        "height": np.int64(100),
    }
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    read = [
        store(write(tmp_path / name, "npz", {"n17": each}), ["n17"]).read([0])[0]
        for name, each in (("a", value), ("b", written))
    ]
    assert torch.equal(read[0].features, read[1].features)
    assert torch.equal(read[0].boxes, read[1].boxes)


def test_a_file_of_one_array_under_the_ending_of_several(tmp_path: Path) -> None:
    path = write(tmp_path, "npz", {"n17": content(5)})
    with (path / "val2014" / "n17.npz").open("wb") as file:
        np.save(file, np.ones((5, 6)))
    with pytest.raises(BadRegionsError, match=r"n17\.npz cannot be read: it is not an \.npz file"):
        store(path, ["n17"]).read([0])


def test_an_lmdb_is_known_by_its_content(tmp_path: Path) -> None:
    path = write(tmp_path, "lmdb", {"n17": content(5)}).rename(tmp_path / "features")
    assert len(store(path, ["n17"]).read([0])[0].features) == 5


def test_rounding_of_boxes_is_clipped(tmp_path: Path) -> None:
    value = content(5)
    value["boxes"][0] = (-0.5, 0, 200.5, 100)
    read = store(write(tmp_path, "npz", {"n17": value}), ["n17"]).read([0])[0]
    assert read.boxes[0].tolist() == [0, 0, 1, 1]


def test_damaged_files(tmp_path: Path) -> None:
    path = write(tmp_path, "npz", {"n17": content(5)})
    file = path / "val2014" / "n17.npz"
    regions = store(path, ["n17"])
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(BadRegionsError, match=r"n17\.npz cannot be read: .*Extract it again"):
        regions.read([0])
    np.savez(file, features=np.zeros((5, 6)))
    with pytest.raises(BadRegionsError, match=r"n17\.npz cannot be read: it lacks boxes"):
        regions.read([0])
    np.savez(file, **{**content(5), "boxes": np.array([{}])})  # would have to be unpickled
    with pytest.raises(BadRegionsError, match=r"n17\.npz cannot be read: .*allow_pickle=False"):
        regions.read([0])


def test_mmf_features_without_their_boxes(tmp_path: Path) -> None:
    path = write(tmp_path, "mmf", {"n17": content(5)})
    (path / "val2014" / "n17_info.npy").unlink()
    with pytest.raises(
        BadRegionsError, match=r"n17\.npy cannot be read: it lacks bbox.*_info\.npy"
    ):
        store(path, ["n17"]).read([0])


def test_an_lmdb_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "other.lmdb"
    lmdb.open(str(path)).close()
    with pytest.raises(BadRegionsError, match=r"other\.lmdb are not an LMDB of MMF's"):
        store(path)
    (path / "data.mdb").write_bytes(b"x" * 8192)
    with pytest.raises(BadRegionsError, match=r"other\.lmdb are not an LMDB of MMF's"):
        store(path)


def test_widths_must_agree(tmp_path: Path) -> None:
    images = {"n17": content(5), "n18": {**content(3), "features": np.zeros((3, 7), np.float32)}}
    read = store(write(tmp_path, "npz", images), ["n17", "n18"]).read([0, 1])
    with pytest.raises(BadRegionsError, match="6 and 7 numbers are in one batch"):
        pad_regions(read)


def test_configuration() -> None:
    with pytest.raises(ConfigError, match=r"features\.max_regions: got 0, expected at least 1"):
        from_config(RegionParams, {"path": "x", "max_regions": 0}, "dataset_config.toy.features")
    with pytest.raises(ConfigError, match=r"dataset_config\.toy\.features\.path: missing"):
        from_config(RegionParams, {}, "dataset_config.toy.features")


def test_boxes_that_say_nothing_and_tiny_images(tmp_path: Path) -> None:
    images = {
        "n17": {**content(5), "boxes": np.zeros((5, 4))},
        "n18": {**content(5), "boxes": np.full((5, 4), 1), "width": 1, "height": 2},
    }
    read = store(write(tmp_path, "npz", images), list(images)).read([0, 1])
    assert read[0].boxes.max() == 0 and read[1].boxes.max() == 1


def test_features_and_info_in_one_file(tmp_path: Path) -> None:
    """What older extractors of MMF wrote."""
    value = content(5)
    item = {"feature": value["features"], "image_feat": value["features"], "info": info(value)}
    np.save(tmp_path / "n17.npy", item)
    (read,) = store(tmp_path, ["n17"]).read([0])
    assert torch.equal(read.features, torch.from_numpy(value["features"]))
    assert read.boxes.shape == (5, 4)


class Code:
    def __reduce__(self) -> Any:
        return print, ("ran code",)


@pytest.mark.parametrize("layout", ["mmf", "lmdb"])
@pytest.mark.parametrize("place", ["boxes", "features"])
def test_pickles_of_features_run_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture, layout: str, place: str
) -> None:
    hostile = np.array([Code()] * 5, dtype=object)
    path = write(tmp_path, layout, {"n17": {**content(5), place: hostile}})
    with pytest.raises(BadRegionsError, match=r"n17.* cannot be read: .*builtin.*print"):
        store(path, ["n17"]).read([0])
    assert "ran code" not in capfd.readouterr().out


def test_keys_of_an_lmdb_run_nothing(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    path = tmp_path / "features.lmdb"
    with lmdb.open(str(path)) as env, env.begin(write=True) as txn:
        txn.put(b"keys", pickle.dumps([Code()]))
    with pytest.raises(BadRegionsError, match=r"features\.lmdb are not an LMDB of MMF's .*print"):
        store(path)
    assert "ran code" not in capfd.readouterr().out


def test_an_lmdb_that_is_cut_short(tmp_path: Path) -> None:
    """What lies behind the end of a mapped file cannot be read: the process would end."""
    images = {f"n{i}": content(5) for i in range(30)}
    path = write(tmp_path, "lmdb", images)
    size = (path / "data.mdb").stat().st_size
    with (path / "data.mdb").open("r+b") as file:
        file.truncate(size // 2)
    with pytest.raises(BadRegionsError, match=rf"it has {size // 2} of {size} bytes.*complete"):
        store(path, list(images))


def test_features_that_unpack_to_more_than_an_image_has(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(regions_module, "_LARGEST", 1000)
    np.savez_compressed(tmp_path / "n17.npz", **{**content(5), "features": np.zeros((5, 600))})
    with pytest.raises(BadRegionsError, match=r"n17\.npz cannot be read: it unpacks to more"):
        store(tmp_path, ["n17"]).read([0])
