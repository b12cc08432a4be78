"""clipvil import and export: what they print, and one error for each bad input."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from typer.testing import CliRunner

from clipvil_mmf.cli.main import app
from tests.checkpoints.conftest import HEADS, golden_state, publish  # noqa: F401 (a fixture)


def clipvil(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, done.output


@pytest.fixture
def config(tmp_path: Path) -> Path:
    OmegaConf.save(HEADS, tmp_path / "heads.yaml")
    return tmp_path / "heads.yaml"


def test_the_table_accounts_for_every_tensor(publish, config: Path, tmp_path: Path) -> None:  # noqa: F811
    path = publish("unipt")
    code, output = clipvil("import", path, "--config", config, "--output", tmp_path / "model")
    assert code == 0, output
    assert "unipt.pth: finetuned, keys with module." in output
    for row in (
        "used by the network",
        "of the method unipt",
        "boxes: a grid has none",
        "text tower",
    ):
        assert row in output
    counts = [int(word) for word in output.split() if word.isdigit()]
    kept = next(int(line.split()[5]) for line in output.splitlines() if "of these kept" in line)
    assert sum(counts) - kept == len(golden_state("unipt"))
    assert f"written: {tmp_path / 'model'}" in output
    assert "answers: not known" in output

    code, output = clipvil("export", tmp_path / "model", "--output", tmp_path / "BEST.pth")
    assert code == 0, output
    assert "finetuned layout, 181 tensors of the network, 26 of tuning methods, 19 that" in output
    written = torch.load(tmp_path / "BEST.pth", weights_only=True)
    assert written.keys() == torch.load(path, weights_only=True).keys()


def test_the_folder_is_named_after_the_checkpoint(publish, config: Path, tmp_path: Path) -> None:  # noqa: F811
    path = publish("clipvil_full")
    assert clipvil("import", path, "--config", config)[0] == 0
    assert (tmp_path / "clipvil_full" / "model.safetensors").is_file()
    code, output = clipvil("import", path, "--config", config)
    assert code == 1 and "exists: remove it, or name another folder" in output


def change(path: Path, **tensors: torch.Tensor | None) -> None:
    state = torch.load(path, weights_only=True)
    for key, value in tensors.items():
        state[key] = value
        if value is None:
            del state[key]
    torch.save(state, path)


POOLER = "module.lxrt_encoder.model.bert.pooler.dense.weight"


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({POOLER: None}, "1 missing from the checkpoint:\n    lxrt_encoder.model.bert.pooler"),
        ({"module.more": torch.ones(1)}, "1 unknown to the network:\n    more"),
        ({POOLER: torch.ones(3, 3)}, "pooler.dense.weight is (3, 3), the network's fusion.pooler"),
        ({"module.logit_fc.3.weight": None}, "it lacks classifier.output.weight"),
    ],
)
def test_misfits(publish, config: Path, tmp_path: Path, tensors, message: str) -> None:  # noqa: F811
    path = publish("clipvil_full")
    change(path, **tensors)
    code, output = clipvil("import", path, "--config", config)
    assert code == 1 and message in output and str(path) in output
    assert not (tmp_path / "clipvil_full").exists()


def test_bad_files(publish, config: Path, tmp_path: Path) -> None:  # noqa: F811
    path = publish("clipvil_full")
    whole = path.read_bytes()
    (tmp_path / "wrong.json").write_text(json.dumps(["yes", "no"]))
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    for arguments, message in {
        ("--kind", "bert"): "is not a bert checkpoint, but a finetuned one",
        ("--answers", tmp_path / "wrong.json"): "has 2 answers, but the checkpoint has 13",
        ("--vocab", tmp_path / "vocab.txt"): "has 1 word pieces, but the checkpoint has 200",
        ("--vocab", tmp_path / "gone.txt"): "gone.txt: no such file",
        ("--config", tmp_path / "gone.yaml"): "gone.yaml",
    }.items():
        code, output = clipvil("import", path, "--config", config, *arguments)
        assert code == 1 and output.startswith("error: ") and message in output, output
    path.write_bytes(whole[: len(whole) // 2])
    code, output = clipvil("import", path)
    assert code == 1 and "is damaged or cut short" in output
    torch.save({"module.lxrt_encoder.model.bert.pooler.dense.bias": print}, path)
    code, output = clipvil("import", path)
    assert code == 1 and "it carries code" in output and "print" in output
    torch.save({"a": torch.ones(1)}, path)
    code, output = clipvil("import", path)
    assert code == 1 and "is not a checkpoint of a known layout: it has 1 keys, such as a" in output
    left = {file.name for file in tmp_path.iterdir()}
    assert left == {"clipvil_full.pth", "heads.yaml", "wrong.json", "vocab.txt"}


def test_a_vit_needs_a_configuration(tmp_path: Path) -> None:
    import open_clip

    vision = {"layers": 1, "width": 64, "patch_size": 16, "image_size": 32, "head_width": 32}
    text = {"context_length": 4, "vocab_size": 9, "width": 8, "heads": 1, "layers": 1}
    clip = open_clip.CLIP(embed_dim=4, vision_cfg=vision, text_cfg=text)
    torch.save(clip.state_dict(), tmp_path / "vit.pt")
    code, output = clipvil("import", tmp_path / "vit.pt")
    assert code == 1 and "its tower is not a ResNet" in output and "--config" in output
    section = {"image_encoder": {"type": "clip_grid", "params": {"tower": vision}}}
    OmegaConf.save(OmegaConf.create(section), tmp_path / "vit.yaml")
    code, output = clipvil("import", tmp_path / "vit.pt", "--config", tmp_path / "vit.yaml")
    assert code == 0, output
    assert clipvil("export", tmp_path / "vit", "--output", tmp_path / "again.pt")[0] == 0
    again = torch.load(tmp_path / "again.pt", weights_only=True)
    assert again.keys() == clip.state_dict().keys()


@pytest.mark.parametrize("command", ["import", "export"])
def test_a_full_disk_leaves_nothing(publish, config: Path, tmp_path: Path, command: str) -> None:  # noqa: F811
    path = publish("clipvil_full")
    if command == "export":
        assert clipvil("import", path, "--config", config)[0] == 0
        arguments = ("export", tmp_path / "clipvil_full", "--output", tmp_path / "BEST.pth")
    else:
        arguments = ("import", path, "--config", config)
    before = {file.name for file in tmp_path.iterdir()}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        code, output = clipvil(*arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 1 and "could not be written" in output and "Free some disk space" in output
    assert {file.name for file in tmp_path.iterdir()} == before


def test_export_of_what_is_not_a_model(tmp_path: Path) -> None:
    code, output = clipvil("export", tmp_path, "--output", tmp_path / "BEST.pth")
    assert code == 1 and "holds no model" in output
