"""``zoo_requirements``: the plugin's datasets fetch what they name, as MMF's own do."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from clipvil_mmf.config import ConfigError
from tests.bridge.common.test_zoo import served  # noqa: F401 (a fixture)
from tests.bridge.main.conftest import mmf  # noqa: F401 (a fixture)


@pytest.fixture
def builder(tmp_path, monkeypatch):
    from mmf.datasets import mmf_dataset_builder

    from clipvil_mmf.data.builder import ClipVilBuilder

    monkeypatch.setattr(mmf_dataset_builder, "get_mmf_env", lambda key: str(tmp_path / "data"))
    built = ClipVilBuilder("vqa2")
    built.zoo_config_path = str(tmp_path / "zoo.yaml")
    return built


def zoo(tmp_path, address, checksum):
    resources = {
        "annotations": [
            {
                "url": f"{address}/annotations.tar.gz",
                "file_name": "annotations.tar.gz",
                "hashcode": checksum,
            }
        ],
        # Nobody asks for features: they are not fetched.
        "features": [{"url": f"{address}/none.tar.gz", "file_name": "none.tar.gz"}],
    }
    entry = {"vqa2": {"defaults": {"version": "1", "resources": resources}}}
    OmegaConf.save(OmegaConf.create(entry), tmp_path / "zoo.yaml")


def test_the_npy_annotations_are_fetched_when_they_are_asked_for(tmp_path, builder, served):  # noqa: F811
    address, _, checksum = served
    zoo(tmp_path, address, checksum)
    builder.build(OmegaConf.create({"zoo_requirements": []}))
    assert not (tmp_path / "data").exists()
    builder.build(OmegaConf.create({"zoo_requirements": ["vqa2.defaults"]}))
    folder = tmp_path / "data" / "datasets" / "vqa2" / "defaults"
    assert (folder / "annotations" / "imdb_train2014.npy").read_bytes() == b"data"
    assert not (folder / "features").exists()


def test_a_misspelt_requirement(tmp_path, builder, served):  # noqa: F811
    zoo(tmp_path, served[0], served[2])
    with pytest.raises(ConfigError, match=r"vqa2\.zoo_requirements: .* no entry 'vqa2\.default'"):
        builder.build(OmegaConf.create({"zoo_requirements": ["vqa2.default"]}))
    builder.build(OmegaConf.create({"zoo_requirements": ["none"]}))


def test_what_mmfs_zoo_lacks_is_taken_from_ours_and_mmfs_own_datasets_ask_mmfs_alone(
    tmp_path, builder, monkeypatch
):
    from mmf.datasets.mmf_dataset_builder import MMFDatasetBuilder
    from mmf.utils.configuration import get_zoo_config

    OmegaConf.save(OmegaConf.create({"another": {}}), tmp_path / "zoo.yaml")
    asked = []
    monkeypatch.setattr(
        MMFDatasetBuilder,
        "_download_resources",
        lambda self, resources, *args: asked.append(resources),
        raising=False,
    )
    monkeypatch.setattr(
        MMFDatasetBuilder,
        "_download_based_on_attribute",
        lambda self, resources, path, version, attribute: asked.append(resources[attribute]),
    )
    builder.build(OmegaConf.create({"zoo_requirements": ["vqa2.defaults"]}))
    urls = [resource.url for resource in asked[0]]
    assert urls == ["mmf://datasets/vqa2/defaults/annotations/annotations.tar.gz"]
    assert get_zoo_config("vqa2", zoo_config_path=str(tmp_path / "zoo.yaml")) == (None, None)
