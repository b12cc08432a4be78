"""The configuration that a run saves: every value in effect, and the same run."""

import mmf_cli.run
import pytest
from omegaconf import OmegaConf

import clipvil_mmf
from clipvil_mmf.config import from_config
from clipvil_mmf.describing.keys import completed
from clipvil_mmf.describing.sections import root
from clipvil_mmf.paths import config_dir
from mmf_bridge.common.launch import read_configuration

clipvil_mmf.register()  # MMF may have been imported before

FILES = ("easy_vqa", "vqa2_unipt", "gqa_ladder", "nlvr2_compacter", "lxmert_vqa2_regions")
FILES += ("pretrain_stage1_tiny", "vqa2_lora", "entailment", "aokvqa", "vqa2_unipt_grid")


def compared(section, given, whole):
    """(dataclass of what is given, that of the whole) for each section of ours.

    Sections in it are compared by themselves.
    """
    cls = section.class_of(given)
    if cls is not None:
        # The model takes null for the size of the dataset's vocabulary.
        without = {key for key in ("vocab_size",) if whole.get(key, 0) is None}
        kept = [name for name in whole if name not in section.inside.keys() | without]
        asked = {name: value for name, value in given.items() if name in kept}
        stand_in = {name: whole[name] for name in section.inside.keys() & given.keys()}
        yield (
            from_config(cls, asked | stand_in, ""),
            from_config(cls, {name: whole[name] for name in kept} | stand_in, ""),
        )
    component = given.get(section.key) if section.key else None
    if component in section.params:
        inside = section.params[component]
        yield from compared(inside, given.get("params") or {}, whole["params"])
    for name, inside in section.inside.items():
        if isinstance(given.get(name), dict) or inside.always:
            yield from compared(inside, given.get(name) or {}, whole[name])


@pytest.mark.parametrize("name", FILES)
def test_it_means_the_same(name):
    configuration = read_configuration(mmf_cli.run, [f"config={config_dir() / name}.yaml"])
    config = configuration.get_config()
    if name in ("vqa2_unipt_grid", "lxmert_vqa2_regions"):
        config.dataset_config.vqa2.features.path = "features"  # which the command gives
    given = OmegaConf.to_container(config, resolve=True)
    before = OmegaConf.create(given)
    whole = completed(given)
    assert given == before and completed(whole) == whole
    clipvil = whole["model_config"]["clipvil"]
    for section in ("image_encoder", "fusion", "classifier"):
        assert clipvil[section]["params"]
    datasets = {
        name: mmf_cli.run.registry.get_builder_class(name).params_class
        for name in whole["datasets"].split(",")
    }
    pairs = list(compared(root(datasets), given, whole))
    assert len(pairs) > 6
    for own, from_whole in pairs:
        assert own == from_whole
