"""Every model that MMF registers: builds, trains for two updates, predicts."""

import pytest
import torch

from tests.bridge.models import small, table


def registered_models():
    from mmf.common.registry import registry

    return registry.mapping["model_name_mapping"]


@pytest.mark.parametrize("name", sorted(table.MODELS))
def test_a_model_trains_and_predicts(name, in_files):
    if name not in registered_models():
        pytest.skip(f"this line of MMF has no {name}")
    case = table.MODELS[name]
    model, config = table.build(name, in_files)
    with small.registered(in_files, config):
        table.train(model, config, case)
        table.predict(model, case)


def test_the_table_has_every_model():
    own = {
        name for name, cls in registered_models().items() if cls.__module__.startswith("mmf.models")
    }
    assert own <= table.MODELS.keys() | table.UNAVAILABLE.keys()


def test_the_weights_of_a_vit_are_those_of_its_file(in_files):
    vit = pytest.importorskip("mmf.modules.vit")
    from omegaconf import OmegaConf

    torch.manual_seed(5)
    names = {"pretrained_model_name": small.VIT_NAME, "add_pooling_layer": False}
    made, _ = vit.ViTModel.from_config(OmegaConf.create({**names, "random_init": True}))
    made.save_pretrained("vit-of-mmf")
    names["pretrained_model_name"] = "vit-of-mmf"
    read, _ = vit.ViTModel.from_config(OmegaConf.create(names))
    assert read.state_dict().keys() == made.state_dict().keys()
    assert "encoder.layer.1.attention.attention.query.weight" in made.state_dict()
    for key, value in made.state_dict().items():
        assert torch.equal(value, read.state_dict()[key]), key


def test_bert_of_transformers_stays_as_it_is(in_files):
    layers = pytest.importorskip("mmf.modules.hf_layers")
    from transformers import BertModel

    model = BertModel.from_pretrained(small.BERT_NAME).eval()
    tokens = torch.arange(6)[None]
    before = model(tokens).last_hidden_state
    layers.replace_with_jit()
    try:
        assert torch.equal(model(tokens).last_hidden_state, before)
    finally:
        layers.undo_replace_with_jit()
