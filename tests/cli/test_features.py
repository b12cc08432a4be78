"""`clipvil features`: what is in the files, how it goes on after a kill, what it says of errors."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from clipvil_mmf import from_pretrained
from clipvil_mmf.cli.main import app
from clipvil_mmf.data.grids import GridStore
from clipvil_mmf.data.images import decode
from clipvil_mmf.extraction import layouts, run
from clipvil_mmf.extraction.layouts import Images, Lmdb
from clipvil_mmf.extraction.pictures import Preprocessing, shown_cells
from clipvil_mmf.extraction.towers import read_tower
from clipvil_mmf.preprocessing import CLIP_MEAN, CLIP_STD, normalize, pixel_statistics
from tests.bridge.runs import ROOT
from tests.checkpoints.conftest import publish  # noqa: F401 (a fixture)
from tests.test_hub import imported  # noqa: F401 (a fixture)

FIXTURES = ROOT / "tests" / "fixtures" / "vqa2"
VAL = sorted(path.stem for path in (FIXTURES / "val2014").glob("*.jpg"))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A copy of the fixtures, which gets stores."""
    return Path(shutil.copytree(FIXTURES, tmp_path / "vqa2"))


@pytest.fixture
def features(data: Path, imported: Path, tmp_path: Path):  # noqa: F811
    """Run the command on VQA v2's val split with a tiny model."""

    def call(*options: str, split: str = "val", code: int = 0) -> str:
        result = CliRunner().invoke(
            app,
            [
                *("features", "--dataset", "vqa2", "--root", str(data), "--split", split),
                *("--model", str(imported), "--image-size", "64x96", "--batch-size", "2"),
                *("--output", str(tmp_path / "out"), *options),
            ],
        )
        assert result.exit_code == code, result.output
        return result.output

    call.model, call.data, call.out = str(imported), data, tmp_path / "out"
    return call


def times(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*.*") if path.is_file()}


def expected(model: str, name: str, preprocessing: Preprocessing) -> torch.Tensor:
    """What the tower gives for an image, (h, w, C)."""
    encoder, _ = read_tower(model)
    picture = decode(str(FIXTURES / "val2014" / f"{name}.jpg"), preprocessing.transform())
    pixels = torch.from_numpy(np.array(picture))[None]
    with torch.no_grad():
        return encoder(normalize(pixels, pixel_statistics(CLIP_MEAN, CLIP_STD)))[0].permute(1, 2, 0)


def test_compact_features_are_the_towers(features) -> None:
    said = features("--dtype", "fp32")
    assert "val: 4 images, 2x3x" in said and "free in" in said
    images = [f"val2014/{name}.jpg" for name in VAL]
    fit_pad = Preprocessing("fit_pad", 64, 96, CLIP_MEAN, CLIP_STD, False)
    grids = GridStore(images, features.out).read(range(len(VAL)))
    for name, grid in zip(VAL, grids, strict=True):
        torch.testing.assert_close(
            torch.from_numpy(grid.features.copy()), expected(features.model, name, fit_pad)
        )
    described = json.loads((features.out / "val" / "features.json").read_text())
    assert described["grid"][:2] == [2, 3] and described["preprocessing"]["name"] == "fit_pad"


def test_projected_features_are_the_models_tokens(features, tmp_path) -> None:
    assert "val: 4 images, 2x3x64" in features("--dtype", "fp32", "--content", "projected")
    network = from_pretrained(features.model).network
    fit_pad = Preprocessing("fit_pad", 64, 96, CLIP_MEAN, CLIP_STD, False)
    store = GridStore([f"val2014/{name}.jpg" for name in VAL], features.out)
    for name, grid in zip(VAL, store.read(range(len(VAL))), strict=True):
        features_of = expected(features.model, name, fit_pad).permute(2, 0, 1)[None]
        with torch.no_grad():
            tokens = network.visual_embedding(features_of).tokens
        found = torch.from_numpy(grid.features.copy()).flatten(0, 1)[None]
        torch.testing.assert_close(found, tokens)
    assert store.batch([0]).keys() == {"projected_features"}
    assert "made with content projected, not raw" in features("--dtype", "fp32", code=1)


def test_what_cannot_be_projected(features) -> None:
    projected = ("--content", "projected")
    said = features(*projected, "--layout", "mmf_mcan", code=1)
    assert "--content projected: expected --layout compact with it, got mmf_mcan" in said
    said = features(*projected, "--model", "RN50:random", code=1)
    assert "--model RN50:random is a tower without a visual embedding" in said


def test_a_second_start_writes_what_is_lacking(features, monkeypatch) -> None:
    monkeypatch.setattr(layouts, "_SHARD_IMAGES", 1)
    features()
    before = times(features.out)
    assert "0 to write" in features()
    assert times(features.out) == before
    shards = sorted((features.out / "val").glob("*.arrow"))
    assert len(shards) == 4
    shards[2].unlink()
    assert "1 to write" in features()
    after = times(features.out)
    assert {path for path in before if after[path] != before[path]} == {str(shards[2])}


def _killed_at(number: int, arguments: list[str]) -> None:
    """Run the command, and be killed while the image of that number is being written."""
    stock, left = run._write, [number]

    def write(grids, batch, job, add) -> None:
        def add_or_die(row, grid) -> None:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            add(row, grid)

        stock(grids, batch, job, add_or_die)

    run._write = write
    CliRunner().invoke(app, arguments)


@pytest.mark.parametrize("layout", ["compact", "mmf_pythia", "mmf_mcan", "lmdb"])
def test_it_goes_on_after_a_kill(features, layout, monkeypatch) -> None:
    monkeypatch.setattr(layouts, "_SHARD_IMAGES", 2)
    monkeypatch.setattr(layouts, "_UNIT", 2)
    options = [
        *("features", "--dataset", "vqa2", "--root", str(features.data), "--split", "val"),
        *("--model", features.model, "--image-size", "64x96", "--batch-size", "1"),
        *("--output", str(features.out), "--layout", layout),
    ]
    process = multiprocessing.get_context("fork").Process(target=_killed_at, args=(3, options))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    lacking = 1 if layout in ("mmf_pythia", "mmf_mcan") else 2
    assert f"{lacking} to write" in features("--layout", layout)
    assert "0 to write" in features("--layout", layout)
    assert not [path for path in features.out.rglob(".partial-*") if path.is_file()]
    assert not list(features.out.rglob("*.unfinished"))


@pytest.mark.parametrize("layout", ["compact", "lmdb"])
def test_two_commands_do_not_write_into_one_folder(features, layout) -> None:
    written = features.out / ("val.lmdb.unfinished" if layout == "lmdb" else "val")
    with run.reserved(written):
        said = features("--layout", layout, code=1)
        assert f"error: {written} is taken: another `clipvil features` writes there (pro" in said
        assert not list(features.out.rglob("*.json"))
    features("--layout", layout)
    assert "0 to write" in features("--layout", layout)
    assert not list(features.out.rglob("*.unfinished"))


def test_a_folder_that_cannot_be_made(features) -> None:
    features.out.write_text("")
    assert f"{features.out / 'val'} cannot be made: Not a directory. Name" in features(code=1)


def test_several_processes_write_the_same(features, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(layouts, "_SHARD_IMAGES", 2)
    monkeypatch.setattr(
        torch.multiprocessing,
        "spawn",
        lambda function, args, count, join: torch.multiprocessing.start_processes(
            function, args, count, join=join, start_method="fork"
        ),
    )
    features()
    one = tmp_path / "one"
    features.out.rename(one)
    features("--processes", "2", "--num-workers", "1")
    images = [f"val2014/{name}.jpg" for name in VAL]
    both = [GridStore(images, out).read(range(4)) for out in (one, features.out)]
    for first, second in zip(*both, strict=True):
        np.testing.assert_allclose(first.features, second.features, rtol=2e-3, atol=1e-3)
    # An error of one of them is the command's.
    shutil.rmtree(features.out)
    (features.data / "val2014" / f"{VAL[1]}.jpg").write_bytes(b"no image")
    assert f"{VAL[1]}.jpg (8 bytes) cannot be decoded" in features("--processes", "2", code=1)
    # So is its end. Both processes have something to do again, so that neither is this one.
    shutil.rmtree(features.out, ignore_errors=True)
    here = os.getpid()

    def killed(*given: object) -> None:
        assert os.getpid() != here
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(run, "_encode", killed)
    assert "SIGKILL. What is written stays" in features("--processes", "2", code=1)


def test_other_settings_are_refused(features) -> None:
    features()
    assert "made with dtype fp16, not fp32" in features("--dtype", "fp32", code=1)
    assert "preprocessing" in features("--preprocessing", "stretch", code=1)


def test_what_cannot_be_written(features, monkeypatch) -> None:
    assert "Pythia computes in fp32" in features(
        *("--layout", "mmf_pythia", "--dtype", "fp16"), code=1
    )
    assert "--image-size: got '64'" in features("--image-size", "64", code=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    assert "has room for 1.0 kB, and" in features(code=1)
    assert not list(features.out.rglob("*.arrow"))
    monkeypatch.undo()
    (features.data / "val2014" / f"{VAL[0]}.jpg").unlink()
    assert f"{VAL[0]}.jpg does not exist" in features(code=1)


def test_numbers_that_fp16_cannot_hold(features, monkeypatch) -> None:
    stock = run._grids
    monkeypatch.setattr(run, "_grids", lambda *given: stock(*given) * 1e6)
    said = features(code=1)
    assert "which fp16 cannot hold; use --dtype fp32" in said and VAL[0][:20] in said


def test_names_that_mmf_cannot_tell_apart(tmp_path) -> None:
    def images(*names: str) -> Images:
        return Images(names, names, (1, 1, 1), (32, 32), "fp32")

    with pytest.raises(layouts.ExtractionError, match="would have one file of features"):
        layouts.PythiaFiles(tmp_path, images("a/0.png", "b/0.png"))
    with pytest.raises(layouts.ExtractionError, match="would take the features of 7 for those of"):
        Lmdb(tmp_path, images("a_007.png", "7.png"))
    with pytest.raises(layouts.ExtractionError, match="would be one image"):
        layouts.Compact(tmp_path, images("/x/a/b/0.png", "/y/a/b/0.png"))


def test_two_steps_of_the_published_preprocessing() -> None:
    """600x1000 pixels, of which the grid is 18x31; portrait pictures are stretched as well."""
    from PIL import Image

    two_step = Preprocessing("two_step", 600, 1000, CLIP_MEAN, CLIP_STD, True).transform()
    random = np.random.default_rng(0)
    for width, height, first in (
        (640, 480, (800, 600)),
        (480, 640, (600, 800)),
        (500, 120, (1000, 240)),
        (333, 500, (600, 901)),
    ):
        image = Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
        bilinear = Image.Resampling.BILINEAR
        by_hand = np.asarray(image.resize(first, bilinear).resize((1000, 600), bilinear))
        assert np.array_equal(two_step(image).transpose(1, 2, 0), by_hand)
    encoder, _ = read_tower("RN50:random")
    assert run.probe(encoder, Preprocessing("two_step", 600, 1000, (), (), True)) == (18, 31, 2048)


def test_cells_that_show_some_of_an_image() -> None:
    assert shown_cells((0, 0, 96, 64), (64, 96), (2, 3)) is None
    assert shown_cells((-1, -2, 98, 68), (64, 96), (2, 3)) is None
    shown = shown_cells((33, 0, 30, 64), (64, 96), (2, 3))
    assert shown.tolist() == [[0, 1, 0]] * 2
    shown = shown_cells((0, 16, 96, 32), (64, 96), (4, 3))
    assert shown.tolist() == [[0] * 3, [1] * 3, [1] * 3, [0] * 3]
