"""``from_pretrained`` of a registered model of MMF, with a folder of the plugin's."""

import json

import pytest
import torch

import clipvil_mmf
from clipvil_mmf.checkpoints.published.convert import import_checkpoint
from tests.checkpoints.conftest import HEADS, publish  # noqa: F401 (a fixture)
from tests.golden.compare import inputs, load_golden
from tests.test_hub import ANSWERS, VOCABULARY, imported  # noqa: F401 (a fixture)


@pytest.fixture
def model_class():
    from mmf.common.registry import registry

    clipvil_mmf.register()
    return registry.get_model_class("clipvil")


def test_mmfs_from_pretrained(model_class, imported):  # noqa: F811
    """It scores a batch as the network of the folder does, without a loss, and outside a run."""
    from mmf.common.registry import registry
    from mmf.common.sample import SampleList

    registry.unregister("config")
    model = model_class.from_pretrained(str(imported))
    assert model.is_pretrained and not model.training
    golden = load_golden("clipvil_full")
    output = model(SampleList(inputs(golden)))
    assert set(output) == {"scores"}
    torch.testing.assert_close(
        output["scores"], torch.from_numpy(golden["eval/logits"]), atol=2e-5, rtol=1e-4
    )
    # What it saves is what it is.
    state = model.state_dict()
    assert state["_extra_state"]["answer"] == model.vocabularies["answer"]
    again = model_class.from_pretrained(str(imported), dtype="bfloat16")
    again.load_state_dict(state)
    with pytest.raises(ValueError, match=r"nowhere: no such file or folder"):
        model_class.from_pretrained("nowhere")


def test_a_tuned_model(model_class, publish, tmp_path):  # noqa: F811
    (tmp_path / "answers.json").write_text(json.dumps(ANSWERS))
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY))
    files = {"answers": tmp_path / "answers.json", "vocabulary": tmp_path / "vocab.txt"}
    import_checkpoint(publish("unipt"), tmp_path / "unipt", config=HEADS, **files)
    model = model_class.from_pretrained(str(tmp_path / "unipt"))
    assert "backbone" not in model.state_dict()["_extra_state"]
