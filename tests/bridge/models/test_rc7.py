"""Models of rc7 on today's transformers: built from small configurations, run on the CPU."""

import pytest
import torch
from omegaconf import OmegaConf
from transformers import BertConfig, BertModel

from mmf_bridge.common.source import edited
from mmf_bridge.finder import install
from mmf_bridge.line import detect
from tests.bridge.models.small import ANSWERS, BATCH, BERT, FEATURES, REGIONS, TOKENS
from tests.bridge.models.table import VILBERT, VISUAL_BERT

pytestmark = pytest.mark.skipif(detect() != "rc7", reason="needs MMF 1.0.0rc7")


@pytest.fixture(scope="module")
def registry():
    install()
    import mmf  # noqa: F401
    from mmf.common.registry import registry

    return registry


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """A small BERT with random weights, and the folder where it is saved."""
    torch.manual_seed(0)
    model = BertModel(BertConfig(**BERT)).eval()
    folder = tmp_path_factory.mktemp("bert")
    model.save_pretrained(folder)
    return model, str(folder)


@pytest.fixture
def batch(registry):
    from mmf.common.sample import SampleList

    torch.manual_seed(1)
    samples = SampleList()
    samples.input_ids = torch.randint(1, BERT["vocab_size"], (BATCH, TOKENS))
    samples.input_mask = torch.ones(BATCH, TOKENS, dtype=torch.long)
    samples.input_mask[1, 4:] = 0
    samples.segment_ids = torch.zeros(BATCH, TOKENS, dtype=torch.long)
    samples.image_feature_0 = torch.rand(BATCH, REGIONS, FEATURES)
    info = SampleList()
    info.max_features = torch.tensor([5, 4, 3])
    info.bbox = [[[0.0, 0.0, 10.0, 10.0]] * REGIONS] * BATCH
    info.image_width = [100.0] * BATCH
    info.image_height = [50.0] * BATCH
    info.cls_prob = [[[0.25] * 4] * REGIONS] * BATCH
    samples.image_info_0 = info
    samples.dataset_name = "vqa2"
    samples.dataset_type = "train"
    samples.lm_label_ids = torch.full((BATCH, TOKENS), -1)
    samples.lm_label_ids[:, 2] = 7
    samples.image_labels = torch.full((BATCH, REGIONS), -1)
    samples.image_labels[:, 1] = 1
    return samples


def build(registry, name, **values):
    from mmf.utils.general import get_mmf_root

    path = f"{get_mmf_root()}/configs/models/{name}/defaults.yaml"
    defaults = OmegaConf.load(path).model_config[name]
    config = OmegaConf.merge(defaults, OmegaConf.create({**BERT, "num_labels": ANSWERS, **values}))
    torch.manual_seed(2)
    model = registry.get_model_class(name)(config)
    model.build()
    return model.eval()


def test_visual_bert_from_scratch(registry, batch):
    model = build(registry, "visual_bert", bert_model_name=None, **VISUAL_BERT)
    assert model.forward(batch)["scores"].shape == (BATCH, ANSWERS)


def test_visual_bert_is_initialised_as_bert(registry):
    model = build(registry, "visual_bert", bert_model_name=None, **VISUAL_BERT).model
    weight = model.bert.encoder.layer[1].intermediate.dense.weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert model.bert.embeddings.projection.bias.abs().max() == 0
    assert model.classifier[1].weight.std().item() == pytest.approx(0.02, rel=0.3)


def test_visual_bert_takes_pretrained_weights_and_reads_text_as_bert(registry, bert, batch):
    reference, folder = bert
    model = build(registry, "visual_bert", bert_model_name=folder, **VISUAL_BERT).model
    with torch.no_grad():
        hidden, pooled, _ = model.bert(batch.input_ids, batch.input_mask, batch.segment_ids)
        expected = reference(batch.input_ids, batch.input_mask, batch.segment_ids)
    kept = batch.input_mask.bool()
    torch.testing.assert_close(hidden[kept], expected.last_hidden_state[kept])
    torch.testing.assert_close(pooled, expected.pooler_output)


def test_visual_bert_pretraining_ties_its_decoder(registry, batch):
    model = build(
        registry,
        "visual_bert",
        bert_model_name=None,
        visual_embedding_dim=FEATURES,
        training_head_type="pretraining",
    )
    decoder = model.model.cls.predictions.decoder
    assert decoder.weight is model.model.bert.embeddings.word_embeddings.weight
    loss = model.forward(batch)["losses"]["vqa2/train/masked_lm_loss"]
    loss.backward()
    assert decoder.weight.grad.abs().sum() > 0


def test_visual_bert_gives_attentions_and_hidden_states(registry, batch):
    model = build(
        registry,
        "visual_bert",
        bert_model_name=None,
        output_attentions=True,
        output_hidden_states=True,
        **VISUAL_BERT,
    )
    with torch.no_grad():
        output = model.forward(batch)
    hidden_states, attentions = output["attention_weights"]
    length = TOKENS + REGIONS
    assert [tuple(state.shape) for state in hidden_states] == [(BATCH, length, 32)] * 3
    assert [tuple(layer.shape) for layer in attentions] == [(BATCH, 4, length, length)] * 2
    torch.testing.assert_close(attentions[0].sum(-1), torch.ones(BATCH, 4, length))
    assert attentions[1][1, :, :, 4:6].max() < 1e-6  # masked words


def test_vilbert_takes_pretrained_weights(registry, bert, batch):
    reference, folder = bert
    model = build(registry, "vilbert", bert_model_name=folder, **VILBERT)
    loaded = model.model.bert.encoder.layer[1].output.dense.weight
    assert torch.equal(loaded, reference.encoder.layer[1].output.dense.weight)
    assert model.forward(batch)["scores"].shape == (BATCH, ANSWERS)


def test_vilbert_pretraining_trains_all_of_its_prediction_head(registry, bert, batch):
    values = {**VILBERT, "training_head_type": "pretraining"}
    model = build(registry, "vilbert", bert_model_name=bert[1], **values)
    losses = model.forward(batch)["losses"]
    sum(loss.sum() for loss in losses.values()).backward()
    head = model.model.cls.predictions
    assert len(losses) == 2
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_pythia(registry, batch, tmp_path):
    from mmf.utils.vocab import Vocab

    words = tmp_path / "words.txt"
    words.write_text("a\nb\nc\n")

    class TextProcessor:
        vocab = Vocab(type="random", vocab_file=str(words), embedding_dim=300)

    multiply = {
        "type": "non_linear_element_multiply",
        "params": {"dropout": 0, "hidden_dim": 12},
    }
    config = OmegaConf.create(
        {
            "model_data_dir": str(tmp_path),
            "image_feature_dim": FEATURES,
            "image_feature_encodings": [{"type": "default", "params": {}}],
            "image_feature_embeddings": [
                {
                    "modal_combine": multiply,
                    "normalization": "softmax",
                    "transform": {"type": "linear", "params": {"out_dim": 1}},
                }
            ],
            "text_embeddings": [
                {
                    "type": "attention",
                    "params": {
                        "hidden_dim": 8,
                        "num_layers": 1,
                        "conv1_out": 6,
                        "conv2_out": 2,
                        "dropout": 0,
                        "embedding_dim": 300,
                        "kernel_size": 1,
                        "padding": 0,
                    },
                }
            ],
            "image_text_modal_combine": multiply,
            "classifier": {"type": "logit", "params": {"img_hidden_dim": 10, "text_hidden_dim": 9}},
        }
    )
    kept = {
        key: registry.get(key, no_warning=True)
        for key in ("config", "vqa2_text_processor", "vqa2_num_final_outputs")
    }
    registry.register("vqa2_text_processor", TextProcessor())
    registry.register("vqa2_num_final_outputs", 7)
    registry.register("config", OmegaConf.create({"datasets": "vqa2"}))
    try:
        model = registry.get_model_class("pythia")(config)
        model.build()
        batch.add_field("text", torch.randint(0, 6, (BATCH, TOKENS)))
        assert model.eval().forward(batch)["scores"].shape == (BATCH, 7)
    finally:
        for key, value in kept.items():
            registry.register(key, value)


@pytest.mark.parametrize("output_dim", [7, 8])
def test_compact_bilinear_pooling_is_a_circular_convolution(registry, output_dim):
    from mmf.modules.fusions import CompactBilinearPooling

    torch.manual_seed(3)
    pooling = CompactBilinearPooling(5, 4, output_dim)
    x1, x2 = torch.randn(2, 5), torch.randn(2, 4)
    sketch1, sketch2 = x1 @ pooling.sketch1, x2 @ pooling.sketch2
    expected = torch.zeros(2, output_dim)
    for i in range(output_dim):
        for j in range(output_dim):
            expected[:, (i + j) % output_dim] += sketch1[:, i] * sketch2[:, j]
    torch.testing.assert_close(pooling(x1, x2), expected * output_dim)


def test_compact_bilinear_pooling_of_images(registry):
    from mmf.modules.fusions import CompactBilinearPooling

    torch.manual_seed(3)
    pooling = CompactBilinearPooling(5, 4, 8, sum_pool=False)
    x1, x2 = torch.randn(2, 5, 3, 2), torch.randn(2, 4, 3, 2)
    result = pooling(x1, x2)
    assert result.shape == (2, 8, 3, 2)
    torch.testing.assert_close(result[:, :, 1, 0], pooling(x1[:, :, 1, 0], x2[:, :, 1, 0]))
    pooling.sum_pool = True
    torch.testing.assert_close(pooling(x1, x2), result.sum(dim=[2, 3]))
    with pytest.raises(ValueError, match="same number of dimensions"):
        pooling(x1, x2[:, :, 0, 0])


def test_masked_heads_are_refused(registry):
    from transformers.modeling_bert import BertEncoder

    encoder = BertEncoder(BertConfig(**BERT))
    with pytest.raises(NotImplementedError, match="head_mask"):
        encoder(torch.zeros(1, 2, 32), None, [torch.ones(4), None])


def test_an_edit_that_does_not_fit_raises():
    assert edited(_example, {"+ 1": "+ 2"})(1) == 3
    with pytest.raises(LookupError, match=r"_example .* has no 'cuda'"):
        edited(_example, {"cuda": "to"})


def _example(x):
    return x + 1
