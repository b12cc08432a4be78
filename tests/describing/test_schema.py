"""The schema of yaml files, and the files themselves."""

import json

import pytest
import yaml

from clipvil_mmf.paths import config_dir
from tests.bridge.runs import PATIENCE, _servers
from tests.describing.validating import errors

FILES = [file for file in sorted(config_dir().rglob("*.yaml")) if file.parent.name != "zoo"]
SCHEMA = json.loads((config_dir() / "schema.json").read_text(encoding="utf-8"))


def _generate(output):
    from clipvil_mmf.describing.schema import json_schema

    output.write_text(json.dumps(json_schema()))


def test_it_is_up_to_date(tmp_path):
    """In a process of its own: other tests register components."""
    process = _servers.Process(target=_generate, args=(tmp_path / "schema.json",))
    process.start()
    process.join(PATIENCE)
    process.kill()
    assert json.loads((tmp_path / "schema.json").read_text()) == SCHEMA, (
        "clipvil config --schema > projects/clipvil/configs/schema.json"
    )


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_shipped_files(file):
    """Each names the schema, beside it or above, and fits it."""
    text = file.read_text(encoding="utf-8")
    first = text.splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert (file.parent / first.rpartition("=")[2]).resolve() == config_dir() / "schema.json"
    assert errors(yaml.safe_load(text), SCHEMA, SCHEMA) == []


MODEL = "model_config: {clipvil: {%s}}"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("trainning: {}", ".trainning: unknown"),
        ("training: {batchsize: 3}", ".training.batchsize: unknown"),
        ("training: {batch_size: 0}", "0 is too small"),
        ("training: {batch_size: many}", "'many'"),
        ("checkpoint: {reset: {al: true}}", ".checkpoint.reset.al: unknown"),
        (MODEL % "fusion: {params: {hiden_size: 3}}", "hiden_size: unknown"),
        (MODEL % "fusion: {type: joint, params: {cross_layers: 3}}", "cross_layers: unknown"),
        (MODEL % "tuning: {method: lroa}", "'lroa' is not in"),
        (MODEL % "image_encoder: {params: {tower: {layers: 1, widht: 3}}}", "widht: unknown"),
        ("dataset_config: {vqa2: {imagesize: [1, 2]}}", "imagesize: unknown"),
        ("dataset_config: {nlvr2: {task: {type: nlvr2, params: {paring: a}}}}", "paring: unknown"),
        ("optimizer: {groups: {tower: {algoritm: sgd}}}", "algoritm: unknown"),
        ("prediction: {topk: 3}", "topk: unknown"),
    ],
)
def test_what_an_editor_underlines(text, where):
    assert any(where in error for error in errors(yaml.safe_load(text), SCHEMA, SCHEMA))


def test_what_it_does_not():
    fine = "training: {batch_size: '${a.b}', log_interval: auto, compile: {mode: default}}"
    assert errors(yaml.safe_load(fine), SCHEMA, SCHEMA) == []
    other = "{model: pythia, dataset_config: {vqa2: {max_features: 3}}}"
    assert errors(yaml.safe_load(other), SCHEMA, SCHEMA) == []
