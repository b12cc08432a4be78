"""A dataset of a plugin under a name of MMF's: each for the models that it suits."""

import argparse

import pytest
from omegaconf import OmegaConf

from mmf_bridge.line import detect
from tests.bridge.runs import run_processes

SHARED = ["vqa2", *(["gqa"] if detect() == "main" else [])]


@pytest.fixture
def registry():
    from mmf.common.registry import registry

    import clipvil_mmf.plugin  # noqa: F401

    kept = dict(registry.mapping["state"])
    yield registry
    registry.mapping["state"].clear()
    registry.mapping["state"].update(kept)


def configuration(*opts):
    from mmf.utils.configuration import Configuration

    return Configuration(argparse.Namespace(config_override=None, opts=list(opts))).get_config()


@pytest.mark.parametrize("name", SHARED)
def test_mmfs_models_keep_mmfs_dataset_and_its_defaults(registry, name):
    config = configuration("model=pythia", f"dataset={name}", "env.user_dir=clipvil_mmf")
    assert registry.get_builder_class(name).__module__.startswith("mmf.")
    assert "use_features" in config.dataset_config[name]

    config = configuration("model=clipvil", f"dataset={name}", "env.user_dir=clipvil_mmf")
    assert registry.get_builder_class(name).__module__ == f"clipvil_mmf.data.{name}"
    assert "image_transform" in config.dataset_config[name]


def test_without_a_run_the_newest_is_taken_as_in_stock_mmf(registry):
    registry.mapping["state"].clear()
    assert registry.get_builder_class("vqa2").__module__ == "clipvil_mmf.data.vqa2"
    assert registry.get_builder_class("nobody") is None


def test_a_spawned_process_chooses_by_the_configuration_alone(registry):
    registry.mapping["state"].clear()
    registry.register("config", OmegaConf.create({"model": "pythia"}))
    assert registry.get_builder_class("vqa2").__module__.startswith("mmf.")


def test_another_builder_of_the_same_name_replaces_as_in_stock_mmf(registry):
    from mmf.datasets.mmf_dataset_builder import MMFDatasetBuilder

    mapping = registry.mapping
    kept = dict(mapping["builder_name_mapping"]), dict(mapping["replaced_builders"])
    try:

        @registry.register_builder("vqa2")
        class Mine(MMFDatasetBuilder):
            pass

        registry.register("model_of_the_run", "clipvil")
        assert registry.get_builder_class("vqa2") is Mine
    finally:
        for name, value in zip(("builder_name_mapping", "replaced_builders"), kept, strict=True):
            mapping[name].clear()
            mapping[name].update(value)


def test_the_log_says_which_is_taken(tmp_path):
    changes = {"dataset": "vqa2", "env.user_dir": "clipvil_mmf", "model": "pythia"}
    run = run_processes(
        tmp_path,
        "env.user_dir=clipvil_mmf",
        "dataset=vqa2",
        "model=pythia",
        "dataset_config.vqa2.data_dir=nowhere",
        changes=changes,
    )
    assert run.exit_codes == [1]
    assert "Dataset vqa2: mmf.datasets.builders.vqa2.builder.VQA2Builder, which suits" in run.output
    assert "not clipvil_mmf.data.vqa2.VQA2Builder" in run.output
