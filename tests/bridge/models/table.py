"""Every model that MMF registers, with a small configuration.

`python -m tests.bridge.models.table [MODEL ...]` builds each on the installed line, trains it for
two updates, predicts, and prints a row.
"""

import os
import re
import sys
import tempfile
from dataclasses import dataclass, field

import torch

from tests.bridge.models.small import (
    ANSWERS,
    BATCH,
    BERT,
    BERT_NAME,
    FEATURES,
    HEADS,
    HIDDEN,
    OCR,
    PIXELS,
    REGIONS,
    STEPS,
    TOKENS,
    VIT_NAME,
    WORDS,
    batch,
    model_config,
    registered,
    write_files,
)


@dataclass
class Case:
    """How to make one model small.

    Args:
        fields: groups of fields that its batch has.
        config: keys of its configuration, dotted, and their values.
        samples: arguments of `small.batch`: other values of its fields.
        yaml: a yaml file of MMF in the place of the model's own.
        unused: regular expression of the parameters that get no gradient by the model's design.
        scores: shape of its scores, `None` when it gives losses alone.
    """

    fields: str
    config: dict = field(default_factory=dict)
    samples: dict = field(default_factory=dict)
    yaml: str | None = None
    unused: str = r"$^"
    scores: tuple[int, ...] | None = (BATCH, ANSWERS)


MULTIPLY = {"type": "non_linear_element_multiply", "params": {"dropout": 0, "hidden_dim": 12}}
ATTENTION = {
    "modal_combine": MULTIPLY,
    "normalization": "softmax",
    "transform": {"type": "linear", "params": {"out_dim": 1}},
}
FC7 = {
    "type": "finetune_faster_rcnn_fpn_fc7",
    "params": {"bias_file": "fc7_b.pkl", "weights_file": "fc7_w.pkl", "model_data_dir": "."},
}
QUESTION = {
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
        "model_data_dir": ".",
    },
}
PYTHIA = {
    "model_data_dir": ".",
    "image_feature_dim": FEATURES,
    "image_feature_encodings": [FC7],
    "image_feature_embeddings": [ATTENTION],
    "text_embeddings": [QUESTION],
    "image_text_modal_combine": MULTIPLY,
    "classifier": {"type": "logit", "params": {"img_hidden_dim": 10, "text_hidden_dim": 9}},
}
VISUAL_BERT = {
    **BERT,
    "visual_embedding_dim": FEATURES,
    "num_labels": ANSWERS,
    "training_head_type": "classification",
}
VILBERT = {
    **BERT,
    "num_labels": ANSWERS,
    "training_head_type": "classification",
    "v_feature_size": FEATURES,
    "v_target_size": 4,
    "v_hidden_size": 24,
    "v_num_hidden_layers": 2,
    "v_num_attention_heads": 4,
    "v_intermediate_size": 24,
    "bi_hidden_size": 24,
    "bi_num_attention_heads": 4,
    "bi_intermediate_size": 24,
    "v_biattention_id": [0, 1],
    "t_biattention_id": [0, 1],
}
TEXT_ENCODER = {
    "type": "transformer",
    "params": {"bert_model_name": BERT_NAME, **BERT, "num_segments": 2},
}
FUSION = {
    "direct_features_input": True,
    "modal_hidden_size": FEATURES,
    "text_hidden_size": HIDDEN,
    "num_labels": ANSWERS,
    "num_features": REGIONS,
    "modal_encoder": {"type": FC7["type"], "params": {**FC7["params"], "in_dim": FEATURES}},
    "text_encoder": TEXT_ENCODER,
}
UNIMODAL = {
    **{key: value for key, value in FUSION.items() if key != "text_encoder"},
    "modal_encoder.params.num_output_features": 1,
}
BAG_OF_WORDS = {
    "type": "embedding",
    "params": {
        "operator": "sum",
        "embedding_params": {
            "type": "vocab",
            "params": {"type": "random", "vocab_file": "words.txt", "embedding_dim": 300},
        },
    },
}


def mlp(size):
    return {
        "type": "mlp",
        "params": {"in_dim": size, "out_dim": ANSWERS, "hidden_dim": 8, "num_layers": 0},
    }


M4C = {
    "model_data_dir": ".",
    "text_bert_init_from_bert_base": False,
    "text_bert": {**BERT, "hidden_size": 768},
    "obj.mmt_in_dim": FEATURES,
    "ocr.mmt_in_dim": 300 + 604 + FEATURES + 50,
    "mmt": BERT,
    "classifier.ocr_max_num": OCR,
    "classifier.ocr_ptr_net": {"hidden_size": HIDDEN, "query_key_size": HIDDEN},
    "losses": [{"type": "m4c_decoding_bce_with_mask"}],
}
SHIFT = r"transform\.module\.lc\.bias"  # of all scores under a softmax: no gradient
WIDE = {"features": 2048}
HEAD = {
    "type": "mlp",
    "freeze": False,
    "lr_multiplier": 1.0,
    "in_dim": HIDDEN,
    "hidden_size": HIDDEN,
    "num_labels": ANSWERS,
    "pooler_name": "bert_pooler",
}
MMFT = {
    **BERT,
    "transformer_base": BERT_NAME,
    "num_labels": ANSWERS,
    "heads": [HEAD],
    "modalities": [
        {
            "type": "text",
            "key": "text",
            "position_dim": 40,
            "segment_id": 0,
            "embedding_dim": HIDDEN,
        },
        {
            "type": "image",
            "key": "image",
            "embedding_dim": FEATURES,
            "position_dim": 40,
            "segment_id": 1,
        },
    ],
}

MMFT_UNUSED = r"^backend\.transformer\.(embeddings|pooler)"
MULTIHEAD = [{"embed_dim": HIDDEN, "kdim": HIDDEN, "vdim": HIDDEN, "num_heads": HEADS}]
MCAN = {
    "hidden_dim": 1024,  # MoVie's layers have no other width
    "cond_dim": 1024,
    "num_attn": HEADS,
    "num_layers": 1,
    "cbn_num_layers": 1,
}

MODELS: dict[str, Case] = {
    "ban": Case(
        "text features",
        {
            "text_embedding.num_hidden": 12,
            "text_embedding.emb_size": 300,
            "bilinear_attention.visual_feat_dim": FEATURES,
            "bilinear_attention.gamma": 2,
        },
    ),
    "butd": Case(
        "text features caption",
        {
            "model_data_dir": ".",
            "image_feature_dim": FEATURES,
            "image_feature_encodings": [FC7],
            "classifier.params": {
                "dropout": 0,
                "hidden_dim": 12,
                "feature_dim": FEATURES,
                "fc_bias_init": 0,
            },
            "image_feature_embeddings": [
                {
                    **ATTENTION,
                    "modal_combine": {
                        "type": "top_down_attention_lstm",
                        "params": {"dropout": 0, "hidden_dim": 12, "attention_dim": 12},
                    },
                }
            ],
            "losses": [{"type": "caption_cross_entropy"}],
        },
        scores=(BATCH, TOKENS, WORDS - 1),
    ),
    "cm_shared_transformer": Case(
        "bert image",
        {
            "image_encoder": {
                "type": "torchvision_resnet",
                "params": {
                    "name": "resnet18",
                    "pretrained": False,
                    "pool_type": "avg",
                    "num_output_features": -1,
                    "zero_init_residual": True,
                },
            },
            "text_encoder": TEXT_ENCODER,
            "final_hidden_size": HIDDEN,
            "losses": [{"type": "in_batch_hinge", "params": {"margin": 0.2, "hard": True}}],
            "image_projection.params.in_dim": 512,
            "text_projection.params.in_dim": HIDDEN,
        },
        {"image": torch.rand(BATCH, 3, 2 * PIXELS, 2 * PIXELS)},
        unused=r"^text_encoder.pooler",
        scores=(BATCH, HIDDEN),
    ),
    "cnn_lstm": Case(
        "text image",
        {
            "cnn.layers": {"input_dims": [3, 4], "output_dims": [4, 5], "kernel_sizes": [7, 5]},
            "classifier": {"type": "mlp", "params": {"in_dim": 100 + 5 * 8 * 8, "out_dim": 2}},
        },
    ),
    "concat_bert": Case("bert features", {**FUSION, "classifier": mlp(0)}),
    "concat_bow": Case(
        "text features",
        {
            **FUSION,
            "text_hidden_size": 300,
            "text_encoder": BAG_OF_WORDS,
            "classifier": mlp(0),
        },
    ),
    "krisp": Case(
        "bert features",
        {
            **{f"visual_bert.{key}": value for key, value in VISUAL_BERT.items()},
            "num_labels": ANSWERS,
            "graph_module.node_hid_dim": 8,
            "graph_module.output_order": "alpha",
            "graph_logit_mode": "logit_fc",
            "output_combine": "concat",
            **dict.fromkeys(
                (
                    "feed_vb_to_graph",
                    "feed_q_to_graph",
                    "feed_graph_to_vb",
                    "feed_special_node",
                    "compress_crossmodel",
                    "analysis_mode",
                    "noback_vb_to_graph",
                    "zerobias",
                ),
                False,
            ),
            **dict.fromkeys(("feed_mode", "topk_ans_feed", "crossmodel_compress_dim")),
        },
        {"targets": torch.rand(BATCH, 2 * ANSWERS)},
        unused=r"vb_module.model.bert.pooler",
        scores=(BATCH, 2 * ANSWERS),
    ),
    "late_fusion": Case(
        "bert features", {**FUSION, "modal_classifier": mlp(0), "text_classifier": mlp(0)}
    ),
    "lorra": Case(
        "text features ocr",
        {
            **PYTHIA,
            "context_feature_dim": 300,
            "image_text_modal_combine.params.context_dim": 350,
            "context_max_len": OCR,
            "image_feature_encodings": [FC7, {"type": "default", "params": {}}],
            "context_feature_embeddings": [ATTENTION],
            "context_feature_encodings": [{"type": "default", "params": {}}],
            "context_embeddings": [{"type": "identity", "params": {"embedding_dim": 350}}],
        },
        {"context_feature_1": None, "targets": torch.rand(BATCH, ANSWERS)},
    ),
    "lxmert": Case(
        "bert features",
        {
            **BERT,
            "num_labels": ANSWERS,
            "training_head_type": "classification",
            "l_layers": 1,
            "x_layers": 1,
            "r_layers": 1,
            "visual_feat_dim": FEATURES,
        },
        unused=r"x_layers.0.visn_(self|inter|output)|logit_gqa",
    ),
    "m4c": Case("text features ocr", M4C, WIDE, scores=(BATCH, STEPS, ANSWERS)),
    "m4c_captioner": Case("text features ocr", M4C, WIDE, scores=(BATCH, STEPS, ANSWERS)),
    "mmbt": Case("bert features", {**FUSION, "training_head_type": "classification"}),
    "mmf_bert": Case(
        "bert features",
        {
            "model_data_dir": ".",
            "training_head_type": "visual_entailment",
            "image_feature_dim": FEATURES,
            "image_feature_projection": {
                "module": "linear",
                "in_dim": FEATURES,
                "out_dim": HIDDEN,
            },
            "image_feature_encodings": [FC7],
            "image_text_modal_combine": {
                **MULTIPLY,
                "params": {"dropout": 0, "hidden_dim": HIDDEN},
            },
            "image_feature_embeddings": MULTIHEAD,
            "image_feature_attentions": MULTIHEAD,
            "text_embeddings": MULTIHEAD,
        },
        {"targets": torch.rand(BATCH, 3)},
        scores=(BATCH, 3),
    ),
    "mmf_transformer": Case("bert features", MMFT, unused=MMFT_UNUSED),
    "mmft": Case("bert features", MMFT, unused=MMFT_UNUSED),
    "movie_mcan": Case(
        "text features",
        {
            "model_data_dir": ".",
            "image_feature_dim": FEATURES,
            "image_feature_encodings.params": {"cond_features": 1024},
            **{f"image_feature_embeddings.params.{key}": value for key, value in MCAN.items()},
            **{f"text_embeddings.params.{key}": value for key, value in MCAN.items()},
            "losses": [{"type": "triple_logit_bce"}],
        },
        {"image_feature_0": torch.rand(BATCH, FEATURES, 4, 4), "image_info_0": None},
        unused=r"self_guided_attns.0.ln_mha.2",
    ),
    "multihead": Case(
        "text features",
        {
            **PYTHIA,
            "image_feature_projections": [{"type": "default", "params": {}}],
            "image_feature_embeddings": [{"num_heads": 2}],
        },
    ),
    "pythia": Case("text features", PYTHIA),
    "pythia_image_only": Case(
        "text features",
        PYTHIA,
        unused=r"^word_embedding|^text_embeddings|fa_txt",
    ),
    "pythia_question_only": Case("text features", PYTHIA, unused=r"image_f|fa_image|_image\b"),
    "unimodal_image": Case("features", {**UNIMODAL, "classifier": mlp(0)}),
    "unimodal_text": Case(
        "text",
        {"text_hidden_size": 300, "text_encoder": BAG_OF_WORDS, "classifier": mlp(0)},
    ),
    "unit": Case(
        "bert image",
        {
            "base_args.backbone": "resnet18",
            "base_args.enc_layers": 1,
            "base_args.dec_layers": 1,
            "base_args.dim_feedforward": 16,
            "base_args.encoder_hidden_dim": HIDDEN,
            "base_args.decoder_hidden_dim": HIDDEN,
            "base_args.num_queries": {"vl": {"vqa2": 2}},
            "base_args.bert_config": TEXT_ENCODER["params"],
            "heads.vl.vqa2.num_labels": ANSWERS,
        },
        unused=r"pooler",
    ),
    "uniter": Case(
        "bert features",
        {
            **BERT,
            "img_dim": FEATURES,
            "heads": {"vqa2": HEAD},
            "encoder": BERT,
            "text_embeddings": BERT,
            "losses": {"vqa2": "logit_bce"},
        },
        unused=r"^uniter.uniter.pooler",
    ),
    "vilbert": Case("bert features", VILBERT, unused=r"biOutput\.q_dense"),
    "vilt": Case(
        "bert image",
        {
            "heads": {"vqa2": [{**HEAD, "loss": "answers"}]},
            "losses": {"answers": "logit_bce"},
            "image_encoder.params": {
                "pretrained_model_name": VIT_NAME,
                "random_init": True,
                "do_pooling": False,
                "do_patch_embeddings": False,
                "add_pooling_layer": False,
                "image_size": [PIXELS, PIXELS],
            },
            "text_embeddings": {"bert_model_name": BERT_NAME, **BERT},
        },
        unused=r"^encoder.module.embeddings",
    ),
    "vinvl": Case(
        "bert features",
        {
            "heads": {"mlp": {**HEAD, "num_layers": 0}},
            "ce_loss": {"ignore_index": -1},
            "img_feature_dim": FEATURES,
        },
        {"labels": torch.tensor([[1], [2], [3]])},
    ),
    "visual_bert": Case("bert features", VISUAL_BERT),
}

# Models that cannot be run here, and why.
UNAVAILABLE = {
    "top_down_bottom_up": "is not migrated to MMF's models: it takes modules, not a configuration",
}


def build(name, folder):
    """Returns a model with its configuration, in training mode; its registry entries must stand."""
    from mmf.utils.build import build_model

    case = MODELS[name]
    config = model_config(name, case.yaml, **case.config)
    with registered(folder, config):
        torch.manual_seed(3)
        return build_model(config.model_config[name]).train(), config


def try_out(name, folder):
    """Builds a model, trains it for two updates and predicts.

    Returns:
        `"ok"`, or the stage that failed with its error.
    """
    stage = "build"
    case = MODELS[name]
    try:
        model, config = build(name, folder)
        with registered(folder, config):
            stage = "train"
            train(model, config, case)
            stage = "predict"
            predict(model, case)
    except Exception as error:  # noqa: BLE001 (it is what the table shows)
        return f"{stage}: {type(error).__name__}: {error}"
    return "ok"


def train(model, config, case, updates=2):
    """Trains; raises `AssertionError` unless losses are finite and what is trainable changes."""
    from mmf.utils.build import build_optimizer

    optimizer = build_optimizer(model, config)
    before = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    for _ in range(updates):
        samples = batch(case.fields.split(), **case.samples)
        losses = model(samples)["losses"]
        total = sum(loss.mean() for loss in losses.values())
        assert losses and torch.isfinite(total), f"losses {losses}"
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
    idle = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        and (parameter.grad is None or torch.equal(parameter, before[name]))
        and not re.search(rf"{case.unused}|{SHIFT}", name)
    ]
    assert not idle, f"without gradient: {idle}"


def predict(model, case):
    """Predicts; raises `AssertionError` unless the scores are finite and of the right shape."""
    with torch.no_grad():
        output = model.eval()(batch(case.fields.split(), **case.samples))
    if case.scores is not None:
        scores = output["scores"]
        assert tuple(scores.shape) == case.scores and torch.isfinite(scores).all(), scores.shape


def main():
    """Prints the table of the installed line."""
    from mmf.common.registry import registry
    from mmf.utils.env import setup_imports

    from mmf_bridge.line import detect

    setup_imports()
    with tempfile.TemporaryDirectory() as folder:
        write_files(folder)
        os.chdir(folder)
        print(f"| model on {detect()} | |\n|---|---|")
        for name in sys.argv[1:] or sorted(registry.mapping["model_name_mapping"]):
            result = UNAVAILABLE.get(name) or try_out(name, folder)
            print(f"| {name} | {result} |", flush=True)


if __name__ == "__main__":
    main()
