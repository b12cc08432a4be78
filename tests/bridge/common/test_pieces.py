"""Precision, plugins, torchrun's environment, and taking models out of their wrappers."""

import pytest
import torch
from omegaconf import OmegaConf

from mmf_bridge.common import distributed, plugins
from mmf_bridge.common.precision import Precision


@pytest.mark.parametrize(
    ("training", "dtype"),
    [
        ({}, torch.float32),
        ({"precision": None, "fp16": False}, torch.float32),
        ({"precision": "fp32"}, torch.float32),
        ({"precision": "bf16"}, torch.bfloat16),
        ({"precision": "fp16"}, torch.float16),
        ({"fp16": True}, torch.float16),
        ({"fp16": True, "precision": "fp16"}, torch.float16),
    ],
)
def test_precision(training, dtype):
    precision = Precision(training, torch.device("cpu"))
    with precision.autocast():
        assert torch.nn.Linear(2, 2)(torch.ones(1, 2)).dtype == dtype
    assert precision.scaler.is_enabled() is (dtype == torch.float16)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        (
            {"precision": "fp8"},
            r"training\.precision is 'fp8': .* fp32, bf16, fp16, auto",
        ),
        ({"precision": "bf16", "fp16": True}, r"training\.fp16 is true but.*'bf16'"),
    ],
)
def test_bad_precision(training, message):
    with pytest.raises(ValueError, match=message):
        Precision(training, torch.device("cpu"))


@pytest.mark.parametrize(
    ("capability", "name", "warned"),
    [("AVX2", "bf16", True), ("AVX2", "fp32", False), ("AVX512", "bf16", False)],
)
def test_slow_precisions_are_called_slow(capability, name, warned, monkeypatch, caplog):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    Precision({"precision": name}, "cpu")
    assert bool(caplog.records) == warned
    assert not warned or f"({capability}) has no instructions for {name}" in caplog.text


@pytest.mark.parametrize(
    ("device", "capabilities", "name", "why"),
    [
        ("cpu", (False, False), "fp32", "cpu has neither AVX512_BF16 nor AMX"),
        ("cpu", (True, False), "bf16", "cpu has AVX512_BF16 or AMX"),
        ("cpu", (False, True), "bf16", "cpu has AVX512_BF16 or AMX"),
        ("cuda:0", (7, 5), "fp32", "cuda:0 has compute capability 7.5"),
        ("cuda:0", (8, 0), "bf16", "cuda:0 has compute capability 8.0"),
        ("cuda:0", (9, 0), "bf16", "cuda:0 has compute capability 9.0"),
    ],
)
def test_precision_that_a_device_is_made_for(device, capabilities, name, why, monkeypatch, caplog):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: capabilities[0])
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: capabilities[1])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capabilities)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    with caplog.at_level("INFO", "mmf_bridge.common.precision"):
        precision = Precision({"precision": "auto"}, device)
    assert (precision.name, precision.dtype is None) == (name, name == "fp32")
    assert caplog.messages == [f"training.precision: auto is {name}, as {why}"]


def test_precision_is_fp32_unless_auto_is_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert Precision({}, "cpu").name == "fp32"


TORCHRUN = {"MASTER_ADDR": "here", "MASTER_PORT": "1", "WORLD_SIZE": "4", "RANK": "2"}


@pytest.mark.parametrize(
    ("environment", "joins"),
    [(TORCHRUN, True), ({**TORCHRUN, "WORLD_SIZE": "1"}, False), ({"RANK": "2"}, False)],
)
def test_torchruns_environment(monkeypatch, environment, joins):
    for name in (*TORCHRUN, "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    config = OmegaConf.create({"distributed": {"rank": 0, "world_size": 1, "no_spawn": False}})
    assert distributed.read_torchrun(config) is joins
    found = (config.distributed.rank, config.distributed.world_size, config.distributed.no_spawn)
    assert found == ((2, 4, True) if joins else (0, 1, False))


def test_unwrap():
    model = torch.nn.Linear(1, 1)
    assert distributed.unwrap(model) is model
    assert distributed.unwrap(torch.nn.DataParallel(model)) is model


@pytest.mark.parametrize("flag", [True, False])
def test_one_process_asks_itself(flag):
    assert distributed.any_process(torch.tensor(flag)) is flag


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("mmf_bridge.common", True),
        ("no_such_package_anywhere", False),
        ("no_such.package", False),
        ("not a name", False),
        ("json.decoder", False),  # a module, not a package
    ],
)
def test_folder_of_a_package(name, found):
    assert (plugins.package_directory(name) is not None) is found


def test_a_plugin_imported_before_mmf_registers_itself_late(tmp_path, monkeypatch):
    package = tmp_path / "late_plugin"
    package.mkdir()
    (package / "__init__.py").write_text("calls = []\ndef register():\n    calls.append(1)\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert plugins.import_if_package("late_plugin")
    import late_plugin

    assert late_plugin.calls == [1]


@pytest.mark.parametrize("folder", ["", "/elsewhere/configs/"])
def test_a_file_of_a_plugin_is_found_as_an_include(folder):
    """MMF puts the folder of the including file before it."""
    path = "projects/clipvil/configs/vqa2.yaml"
    found = plugins.find_in_plugins(f"{folder}{path}")
    assert found and found.endswith(path)
    assert plugins.find_in_plugins(f"{folder}projects/clipvil/configs/nothing.yaml") is None


def test_a_folder_of_that_name_goes_first(tmp_path, monkeypatch):
    (tmp_path / "json").mkdir()
    monkeypatch.chdir(tmp_path)
    assert not plugins.import_if_package("json")
