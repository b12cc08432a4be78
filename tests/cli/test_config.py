"""``clipvil config``."""

import re

import pytest
import yaml
from omegaconf import OmegaConf
from typer.testing import CliRunner

from clipvil_mmf.cli.main import app
from clipvil_mmf.cli.profile import read_settings
from clipvil_mmf.describing.keys import keys_in_effect
from clipvil_mmf.paths import config_dir
from mmf_bridge.common.yaml_layers import yaml_files

CONFIGS = config_dir()
VQA2 = str(CONFIGS / "vqa2.yaml")
# The other datasets' files of a tuning method have the keys of VQA v2's.
_METHODS = re.compile(r"(gqa|nlvr2|snli_ve)_(adapter|ladder|lora|sherl|unipt)")
# `run` names no dataset, and MoVie-MCAN is of MMF main (tests/bridge/main).
FILES = [
    file
    for file in sorted(CONFIGS.glob("*.yaml"))
    if file.stem != "run" and "mcan" not in file.stem and not _METHODS.fullmatch(file.stem)
]


def keys(*arguments):
    file, *options = arguments
    found = keys_in_effect(read_settings(file, options), [f"config={file}", *options])
    return {key.key: key for key in found}


def printed(*arguments):
    done = CliRunner().invoke(app, ["config", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_key_has_a_description_and_a_place(file):
    found = keys(str(file)).values()
    assert [key.key for key in found if not key.description] == []
    assert [key.key for key in found if not key.source] == []


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("training.batch_size", r"command line"),
        ("training.max_epochs", r"projects/clipvil/configs/recipes/published\.yaml:\d+"),
        ("training.num_workers", r"projects/clipvil/configs/run\.yaml:\d+"),
        ("env.save_dir", r"projects/clipvil/configs/vqa2\.yaml:\d+"),
        ("training.logger_level", r"mmf/configs/defaults\.yaml:\d+"),
        ("training.detect_anomaly", r"default of mmf_bridge|mmf/configs/defaults\.yaml:\d+"),
        ("datasets", r"projects/clipvil/configs/vqa2\.yaml:\d+"),
        ("prediction.top_k", r"projects/clipvil/configs/models/clipvil\.yaml:\d+"),
        ("dataset_config.vqa2.subset", r"projects/clipvil/configs/datasets/vqa2\.yaml:\d+"),
        ("model_config.clipvil.losses[0].params.loss_scale", r".*/published\.yaml:\d+"),
        (
            "model_config.clipvil.image_encoder.params.batch_norm",
            r"default, clipvil_mmf/vision/clip_grid\.py:\d+",
        ),
        ("optimizer.params.correct_bias", r"default of AdamWSGD"),
    ],
)
def test_where_a_value_comes_from(key, place):
    found = keys(VQA2, "training.batch_size=8")[key]
    assert re.fullmatch(place, found.source), found.source


def test_a_place_is_the_line_of_the_key():
    source = keys(VQA2)["training.batch_size"].source
    line = int(source.rpartition(":")[2])
    assert (CONFIGS / "vqa2.yaml").read_text().splitlines()[line - 1].startswith("  batch_size: 32")


def test_types_choices_and_limits():
    found = keys(VQA2, "model_config.clipvil.tuning.method=ladder")
    assert found["model_config.clipvil.tuning.params.initialization"].choices == (
        *("random", "magnitude", "fisher"),
    )
    assert "lora" in found["model_config.clipvil.tuning.method"].choices
    assert found["training.leftover_batches"].choices == ("step", "carry", "drop")
    assert (found["training.max_epochs"].type, found["training.max_epochs"].at_least) == (
        *("whole number | null", 0),
    )


def test_files_are_merged_in_the_order_of_the_layers():
    """The files that are named are those that MMF reads, and nothing else."""
    from mmf.utils.configuration import load_yaml

    for file in FILES:
        parts = [OmegaConf.load(part) for part in yaml_files(str(file))]
        merged = OmegaConf.merge(*parts)
        merged.pop("includes", None)
        assert merged == load_yaml(str(file)), file


def test_what_is_printed_is_the_configuration(tmp_path):
    """As yaml that the command takes itself, with and without descriptions."""
    plain, described = printed(VQA2, "training.batch_size=8"), printed(VQA2, "--docs")
    content = yaml.safe_load(plain)
    assert content["training"]["batch_size"] == 8
    assert content["model_config"]["clipvil"]["losses"][0]["params"] == {"loss_scale": 500}
    content["training"]["batch_size"] = 32
    assert yaml.safe_load(described) == content
    (tmp_path / "whole.yaml").write_text(described)
    assert {name: key.value for name, key in keys(str(tmp_path / "whole.yaml")).items()} == {
        name: key.value for name, key in keys(VQA2).items()
    } | {"config": str(tmp_path / "whole.yaml")}
    assert re.search(
        r"# Samples of a batch .*\[whole number, at least 1\]\n  batch_size: 32", described
    )


def test_search():
    output = printed(VQA2, "--search", "Warmup")
    assert yaml.safe_load(output)["scheduler"]["params"]["warmup_ratio"] == 0.05
    assert "batch_size" not in output


def test_errors_are_those_of_a_run(tmp_path):
    (tmp_path / "slip.yaml").write_text(f"includes: ['{VQA2}']\ntraining: {{batchsize: 3}}\n")
    done = CliRunner().invoke(app, ["config", str(tmp_path / "slip.yaml")])
    assert done.exit_code == 1 and "Did you mean training.batch_size?" in done.output
    done = CliRunner().invoke(app, ["config"])
    assert done.exit_code == 1 and "name a yaml file" in done.output
