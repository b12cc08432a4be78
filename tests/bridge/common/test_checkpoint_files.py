"""Checkpoint files: whole or not at all, and read without running anybody's code."""

import argparse
import os
import pickle
import random
import resource

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from mmf_bridge.common import checkpoint_files as files

WHOLE = {"model": {"a": torch.zeros(1000)}}


class Code:
    def __reduce__(self):
        return (print, ("ran code",))


def test_a_save_is_whole_and_leaves_nothing_else(tmp_path):
    files.atomic_save(WHOLE, tmp_path / "a.ckpt")
    assert torch.equal(files.safe_load(tmp_path / "a.ckpt")["model"]["a"], WHOLE["model"]["a"])
    assert [f.name for f in tmp_path.iterdir()] == ["a.ckpt"]


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="Linux tells what is mapped")
def test_what_is_mapped_stays_in_its_file(tmp_path):
    file = tmp_path / "a.ckpt"
    files.atomic_save(WHOLE, file)
    for mapped in (False, True):
        weight = files.safe_load(file, mapped=mapped)["model"]["a"]
        with open("/proc/self/maps") as maps:
            assert (str(file) in maps.read()) is mapped
        assert torch.equal(weight, WHOLE["model"]["a"])
    weight += 1  # of the process's own page
    assert torch.equal(files.safe_load(file)["model"]["a"], WHOLE["model"]["a"])


def test_a_disk_that_is_full_leaves_the_earlier_file(tmp_path):
    file = tmp_path / "a.ckpt"
    files.atomic_save({"model": 1}, file)
    before = file.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match=r"Could not write the checkpoint .*a\.ckpt.*Free some"):
            files.atomic_save(WHOLE, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("links", [True, False])
def test_a_second_name_is_independent_of_the_first(tmp_path, monkeypatch, links):
    if not links:

        def refuse(*_, **__):
            raise OSError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    first, second = tmp_path / "model_1.ckpt", tmp_path / "current.ckpt"
    second.write_bytes(b"of before")
    files.atomic_save(WHOLE, first)
    files.link_or_save(WHOLE, first, second)
    assert (first.stat().st_ino == second.stat().st_ino) is links
    first.unlink()
    assert "model" in files.safe_load(second)


def test_pruning_keeps_the_newest_whatever_their_numbers(tmp_path):
    for age, number in enumerate((700, 600, 100, 200)):
        file = tmp_path / f"model_{number}.ckpt"
        file.touch()
        os.utime(file, ns=(age, age))
    files.prune(tmp_path, -1)
    assert len(list(tmp_path.iterdir())) == 4
    files.prune(tmp_path, 2)
    assert {f.name for f in tmp_path.iterdir()} == {"model_100.ckpt", "model_200.ckpt"}


@pytest.fixture
def bad(tmp_path):
    """Files that are not checkpoints, by name."""
    torch.save(WHOLE, tmp_path / "whole")
    torch.save(WHOLE, tmp_path / "old", _use_new_zipfile_serialization=False)
    contents = {
        "cut": (tmp_path / "whole").read_bytes()[:2000],
        "old_cut": (tmp_path / "old").read_bytes()[:2000],
        "older_cut": (tmp_path / "old").read_bytes()[:40],
        "empty": b"",
        "page": b"<html>not found</html>",
        "pointer": b"version https://git-lfs.github.com/spec/v1\n",
        "zeros": bytes(100),
        "pickle": pickle.dumps({"a": 1}),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: tmp_path / name for name in contents}


@pytest.mark.parametrize("trusts", [True, False])
@pytest.mark.parametrize(
    "name", ["cut", "old_cut", "older_cut", "empty", "page", "pointer", "zeros", "pickle"]
)
def test_what_is_not_a_checkpoint(bad, name, trusts):
    trusted = str(bad[name]) if trusts else None
    with pytest.raises(ValueError, match=f"{name} could not be read as a checkpoint") as caught:
        files.safe_load(bad[name], trusted=trusted)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [Code(), argparse.Namespace(a=1)])
def test_code_is_not_run_unless_the_file_is_named(tmp_path, capfd, value):
    file = tmp_path / "foreign.ckpt"
    torch.save({"model": {}, "args": value}, file)
    message = r"would run code that it carries \(.*(print|Namespace).*trust_pickle=.*foreign"
    for trusted in (None, "other.ckpt", [str(tmp_path / "other.ckpt")]):
        with pytest.raises(ValueError, match=message):
            files.safe_load(file, trusted=trusted)
    assert not capfd.readouterr().out
    assert "model" in files.safe_load(file, trusted=["other.ckpt", str(file)])


def test_safetensors_files_and_folders(tmp_path):
    save_file(WHOLE["model"], tmp_path / "model.safetensors")
    for path in (tmp_path, tmp_path / "model.safetensors"):
        assert torch.equal(files.safe_load(path)["a"], WHOLE["model"]["a"])
    (tmp_path / "model.safetensors").write_bytes(b"0" * 20)
    with pytest.raises(ValueError, match=r"model\.safetensors could not be read as safetensors"):
        files.safe_load(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"holds no model\.safetensors"):
        files.safe_load(tmp_path)


def test_plain_copies_load_by_torchs_safe_default(tmp_path):
    state = {
        "number": np.float64(1.5),
        "config": OmegaConf.create({"a": [1, 2], "b": "${a}"}),
        "tensor": torch.ones(2),
        "pair": (1, None),
        "lambdas": [lambda step: step],
        3: {"function": print, "kept": True},
    }
    plain = files.plain(state)
    assert plain == {
        "number": 1.5,
        "config": {"a": [1, 2], "b": [1, 2]},
        "tensor": plain["tensor"],
        "pair": (1, None),
        3: {"kept": True},
    }
    torch.save(plain, tmp_path / "plain")
    torch.load(tmp_path / "plain", weights_only=True)


def test_random_numbers_go_on_where_they_were(tmp_path):
    def draw():
        return torch.rand(3).tolist(), np.random.rand(3).tolist(), random.random()

    torch.save(files.plain(files.rng_state()), tmp_path / "rng")
    first = draw()
    files.set_rng_state(torch.load(tmp_path / "rng", weights_only=True))
    assert draw() == first


def test_a_checkpoint_of_another_model():
    files.report_keys("a.ckpt", [], [])
    missing = [f"layer{i}" for i in range(7)]
    with pytest.raises(ValueError, match=r"a\.ckpt is a checkpoint of another model") as caught:
        files.report_keys("a.ckpt", missing, ["head"])
    text = str(caught.value)
    assert "lacks 7 keys of the model (layer0, layer1, layer2, layer3, layer4 and 2 more)" in text
    assert "no place for 1 of its (head)" in text and "resume_pretrained" in text


def test_a_scheduler_continues_with_its_numbers_and_the_yamls_settings():
    live = {"last_epoch": 0, "lr_lambdas": [None], "config": OmegaConf.create({}), "f": print}
    saved = {"last_epoch": 7, "lr_lambdas": [{"a": 1}], "config": {"old": 1}, "gone": 2}
    assert files.continued(live, saved) == {**live, "last_epoch": 7}
    assert files.numbers(live) == {"last_epoch": 0}
