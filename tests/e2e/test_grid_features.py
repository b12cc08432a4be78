"""Grid features of a run's tower: tuning without the tower gives what tuning beside it does."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from clipvil_mmf.checkpoints import CheckpointError
from clipvil_mmf.checkpoints.starting import Run, starting_weights
from clipvil_mmf.cli.main import app
from tests.e2e.conftest import evaluation_of
from tests.e2e.test_vqa_files import TINY_MODEL, data, options  # noqa: F401 (a fixture)

SPLITS = ("train", "nominival", "minival", "test")
FROZEN = (
    "model_config.clipvil.image_encoder.params.frozen=true",
    "model_config.clipvil.image_encoder.params.batch_norm=eval",
)
# In the place of a tower.
FILES = ("model_config.clipvil.image_encoder.params.feature_size=256",)


def test_tuning_on_features_is_tuning_beside_the_tower(run_mmf, data, tmp_path):  # noqa: F811
    backbone = tmp_path / "backbone"
    run_mmf(*options("vqa2.yaml", "vqa2", data, *FROZEN, f"env.save_dir={backbone}"))
    features = CliRunner().invoke(
        app,
        [
            *("features", "--dataset", "vqa2", "--root", str(data / "vqa2")),
            *("--split", ",".join(SPLITS), "--model", str(backbone), "--dtype", "fp32"),
            *("--output", str(tmp_path / "features")),
        ],
    )
    assert features.exit_code == 0, features.output
    start = f"model_config.clipvil.pretrained={backbone}"
    without = tuple(option for option in TINY_MODEL if "image_encoder" not in option)
    path = f"dataset_config.vqa2.features.path={tmp_path / 'features'}"
    beside = run_mmf(
        *options("vqa2_unipt.yaml", "vqa2", data, *FROZEN, start),
        f"env.save_dir={tmp_path / 'beside'}",
    )
    on_files = run_mmf(
        *options("vqa2_unipt_grid.yaml", "vqa2", data, start, path, *FILES, model=without),
        f"env.save_dir={tmp_path / 'on_files'}",
    )
    batch = next(iter(on_files.train_loader))
    assert "grid_features" in batch and "images" not in batch
    # The tower has drawn random numbers before the tuning method did: with the same weights, the
    # same batches have the same loss.
    whole = beside.model.network.state_dict()
    names = on_files.model.network.state_dict()
    on_files.model.network.load_state_dict({n: whole[n] for n in names})
    expected, found = (evaluation_of(trainer, "val") for trainer in (beside, on_files))
    assert found == pytest.approx(expected, rel=1e-5)
    # The same from files of visual tokens.
    tokens = tmp_path / "tokens"
    features = CliRunner().invoke(
        app,
        [
            *("features", "--dataset", "vqa2", "--root", str(data / "vqa2")),
            *("--split", ",".join(SPLITS), "--model", str(backbone), "--dtype", "fp32"),
            *("--content", "projected", "--output", str(tokens)),
        ],
    )
    assert features.exit_code == 0, features.output
    on_tokens = run_mmf(
        *options("vqa2_unipt_grid.yaml", "vqa2", data, start, *FILES, model=without),
        f"dataset_config.vqa2.features.path={tokens}",
        "model_config.clipvil.image_encoder.params.projected=true",
        f"env.save_dir={tmp_path / 'on_tokens'}",
    )
    on_tokens.model.network.load_state_dict({n: whole[n] for n in names})
    assert evaluation_of(on_tokens, "val") == pytest.approx(expected, rel=1e-5)
    # What was trained so is a start for a network whose tower comes from a file of its own.
    merged = tmp_path / "merged"
    done = CliRunner().invoke(app, ["merge", str(tmp_path / "on_files"), "--output", str(merged)])
    assert done.exit_code == 0, done.output
    network, words = beside.model.network, beside.model.vocabularies
    with pytest.raises(
        CheckpointError, match=r"missing from the checkpoint:\s+image_encoder\.tower"
    ):
        starting_weights(network, merged, Run(words["answer"], words["text"]))
    network.image_encoder.config.pretrained = "a file"
    found = starting_weights(network, merged, Run(words["answer"], words["text"]))
    assert "visual_embedding.projection.weight" in found
    assert not [name for name in found if name.startswith("image_encoder.")]
