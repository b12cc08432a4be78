"""Grid features of `clipvil features` in MMF's own readers, Pythia and MoVie-MCAN."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from clipvil_mmf.cli.main import app
from mmf_bridge.line import detect
from tests.bridge.runs import ROOT, run_options
from tests.checkpoints.conftest import publish  # noqa: F401 (a fixture)
from tests.test_hub import imported  # noqa: F401 (a fixture)

FIXTURES = ROOT / "tests" / "fixtures" / "vqa2"
CONFIGS = ROOT / "projects" / "clipvil" / "configs"
WIDTH = 256  # of the tiny tower
NAMES = [path.stem for path in sorted((FIXTURES / "val2014").glob("*.jpg"))]


@pytest.fixture
def features(tmp_path: Path, imported: Path):  # noqa: F811
    """Write the features of VQA v2's small splits in a layout; returns their folder."""

    def write(layout: str, *options: str, splits: str = "val") -> Path:
        data, out = tmp_path / "vqa2", tmp_path / layout
        if not data.exists():
            shutil.copytree(FIXTURES, data)
        result = CliRunner().invoke(
            app,
            [
                *("features", "--dataset", "vqa2", "--root", str(data), "--split", splits),
                *("--model", str(imported), "--image-size", "64x96", "--layout", layout),
                *("--output", str(out), *options),
            ],
        )
        assert result.exit_code == 0, result.output
        return out

    return write


def read(path: Path, depth_first: bool, max_features: int | None) -> list:
    from mmf.datasets.databases.readers.feature_readers import FeatureReader

    reader = FeatureReader(str(path), depth_first, max_features)
    return [reader.read(f"{name}.npy") for name in NAMES]


def test_pythias_reader_flattens_the_grid(features) -> None:
    folder = features("mmf_pythia", "--preprocessing", "two_step") / "val"
    assert np.load(folder / f"{NAMES[0]}.npy").shape == (1, 2, 3, WIDTH)
    for found, info in read(folder, False, 100):
        assert found.shape == (6, WIDTH) and found.dtype == torch.float32 and info is None


def test_movie_mcans_reader_puts_the_grid_on_a_square(features) -> None:
    folder = features("mmf_mcan", "--preprocessing", "two_step") / "val"
    stored = np.load(folder / f"{NAMES[0]}.npy")
    assert stored.shape == (1, WIDTH, 2, 3) and stored.dtype == np.float16
    found, _ = read(folder, True, 9)[0]
    if detect() == "main":
        assert found.shape == (WIDTH, 3, 3) and found.dtype == torch.float32
        assert torch.equal(found[:, :2], torch.from_numpy(stored[0]).float())
        assert not found[:, 2].any()
    else:
        assert found.shape == (WIDTH, 2, 3)


def test_the_reader_of_a_database_pads_the_cells_of_an_image(features) -> None:
    path = features("lmdb", "--preprocessing", "fit_pad", "--image-size", "96x160") / "val.lmdb"
    for found, info in read(path, False, 20):
        cells = int(info["max_features"])
        assert found.shape == (20, WIDTH) and 0 < cells <= 15
        assert found[:cells].any(dim=1).all() and not found[cells:].any()
        assert info["bbox"].shape == (cells, 4)


MODELS = {
    "pythia": ("pythia_grid_tiny", "mmf_pythia"),
    "movie_mcan": ("mcan_grid_tiny", "mmf_mcan"),
}


@pytest.mark.parametrize("name", MODELS)
def test_it_trains_and_predicts(features, name, tmp_path) -> None:
    if name == "movie_mcan" and detect() != "main":
        pytest.skip("rc7 has no MoVie-MCAN")
    yaml, layout = MODELS[name]
    out = features(layout, "--preprocessing", "two_step", splits="train,val,test")
    options = [
        *(f"config={CONFIGS / yaml}.yaml", f"dataset_config.vqa2.data_dir={out}"),
        *(f"env.save_dir={tmp_path / 'run'}", f"env.data_dir={tmp_path}"),
        *(f"env.cache_dir={tmp_path}", f"model_config.{name}.image_feature_dim={WIDTH}"),
        *("training.max_updates=4", "training.batch_size=8", "training.log_interval=1"),
        *("training.evaluation_interval=4", "dataset_config.vqa2.max_features=9"),
    ]
    run = run_options(tmp_path, options)
    assert run.exit_codes == [0], run.output[-3000:]
    options += ["checkpoint.resume=true", "checkpoint.resume_best=true"]
    run = run_options(tmp_path, options, predict=True)
    assert run.exit_codes == [0], run.output[-3000:]
    (file,) = (tmp_path / "run").rglob("reports/*_*.json")
    rows = json.loads(file.read_text())
    asked = json.loads((FIXTURES / "v2_OpenEnded_mscoco_test2015_questions.json").read_text())
    ids = {question["question_id"] for question in asked["questions"]}
    assert {row["question_id"] for row in rows} == ids and len(rows) == len(ids)
