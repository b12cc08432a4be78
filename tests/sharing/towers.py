"""CLIP models and a BERT of random weights, in the files that the hub has of such."""

import json

import open_clip
import torch
from safetensors.torch import save

VISION = {"layers": 2, "width": 64, "head_width": 16, "patch_size": 16, "image_size": 32}
_TEXT = {"context_length": 8, "vocab_size": 40, "width": 32, "heads": 2, "layers": 1}
STATISTICS = {
    "mean": [0.48145466, 0.4578275, 0.40821073],
    "std": [0.26862954, 0.26130258, 0.27577711],
}


def open_clip_files(quick_gelu=False, **vision):
    """(the model, its repository's files) in open_clip's layout."""
    torch.manual_seed(1)
    described = {"embed_dim": 24, "vision_cfg": {**VISION, **vision}, "text_cfg": _TEXT}
    described |= {"quick_gelu": True} if quick_gelu else {}
    clip = open_clip.CLIP(24, dict(described["vision_cfg"]), dict(_TEXT), quick_gelu).eval()
    config = {"model_cfg": described, "preprocess_cfg": STATISTICS}
    return clip, {
        "open_clip_config.json": json.dumps(config).encode(),
        "open_clip_model.safetensors": save(clip.state_dict()),
        "open_clip_pytorch_model.bin": b"a pickle",
    }


def transformers_clip_files(alone=False):
    """The same in that of transformers, whose code writes it; the tower alone, or all of CLIP."""
    from transformers import CLIPConfig, CLIPModel, CLIPVisionModel

    torch.manual_seed(2)
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 4}
    vision = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "patch_size": 16,
        "image_size": 32,
        **sizes,
    }
    text = {"hidden_size": 32, "intermediate_size": 48, "vocab_size": 40, **sizes}
    config = CLIPConfig(vision_config=vision, text_config=text, projection_dim=24)
    model = CLIPVisionModel(config.vision_config) if alone else CLIPModel(config)
    return model.eval(), transformers_files(model)


def bert_files(words, **sizes):
    """A BERT with the heads of its pre-training, and its vocabulary."""
    from transformers import BertConfig, BertForPreTraining

    torch.manual_seed(3)
    model = BertForPreTraining(BertConfig(vocab_size=len(words), **sizes)).eval()
    vocabulary = {"vocab.txt": "".join(f"{word}\n" for word in words).encode()}
    return model, {**transformers_files(model), **vocabulary}


def transformers_files(model):
    """What ``save_pretrained`` writes of a model."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return {file.name: file.read_bytes() for file in Path(folder).iterdir()}
