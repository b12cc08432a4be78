"""Small stand-ins for what MMF's models need: files, tokenizer, vocabularies, a batch."""

import pickle
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch
import torchvision
from omegaconf import OmegaConf
from transformers import BertConfig, BertForPreTraining, ViTConfig, ViTModel

from mmf_bridge.line import detect

BATCH, TOKENS, REGIONS, FEATURES, ANSWERS, OCR, STEPS, PIXELS = 3, 6, 5, 16, 7, 4, 3, 32
WORDS, HIDDEN, LAYERS, HEADS = 50, 32, 2, 4
BERT = {
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 64,
    "vocab_size": WORDS,
    "max_position_embeddings": 40,
}
DATASET = "vqa2"
BERT_NAME = "bert-base-uncased"  # MMF asks for it by name; it is a folder in the working directory
VIT_NAME = "vit-small"
DETECTRON = "models/detectron.defaults"  # M4C looks there, and takes features of 2048


def write_files(folder):
    """Write the files that models read into a folder, which is to be the working directory."""
    folder = Path(folder)
    torch.manual_seed(0)
    BertForPreTraining(BertConfig(**BERT)).save_pretrained(folder / BERT_NAME)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += [f"word{number}" for number in range(WORDS - len(words))]
    (folder / BERT_NAME / "vocab.txt").write_text("\n".join(words))
    vit = {key: BERT[key] for key in list(BERT)[:4]}
    ViTModel(ViTConfig(**vit, image_size=PIXELS, patch_size=16)).save_pretrained(folder / VIT_NAME)
    (folder / "words.txt").write_text("\n".join(words[5:]))
    (folder / DETECTRON).mkdir(parents=True)
    for path, shape in (
        ("fc7_w.pkl", (FEATURES, FEATURES)),
        ("fc7_b.pkl", FEATURES),
        (f"{DETECTRON}/fc7_w.pkl", (FEATURES, 2048)),
        (f"{DETECTRON}/fc7_b.pkl", FEATURES),
    ):
        weights = np.random.default_rng(0).normal(size=shape).astype("f4")
        (folder / path).write_bytes(pickle.dumps(weights))
    checkpoints = folder / "hub" / "checkpoints"  # where torch.hub keeps its downloads
    checkpoints.mkdir(parents=True)
    torch.save(torchvision.models.resnet18().state_dict(), checkpoints / "resnet18-f37072fd.pth")


class Vocabulary:
    """What MMF's text processor and answer processor offer to models."""

    BOS_IDX, UNK_IDX = 1, 0
    max_length = TOKENS

    def __init__(self, folder):
        from mmf.utils.vocab import Vocab

        torch.manual_seed(1)
        self.vocab = Vocab(
            type="random", vocab_file=str(Path(folder, "words.txt")), embedding_dim=300
        )


class Graph(torch.nn.Module):
    """Stands in for the graph of KRISP, which needs torch_geometric and files of gigabytes."""

    def __init__(self, config, _others):
        super().__init__()
        self.node = torch.nn.Parameter(torch.ones(config.node_hid_dim))

    def forward(self, samples):
        return self.node.expand(samples.input_ids.size(0), -1)


@contextmanager
def registered(folder, config):
    """Registers what a dataset would have: processors, sizes and the configuration."""
    from mmf.common.registry import registry

    vocabulary = Vocabulary(folder)
    entries = {
        "config": config,
        "writer": mock.Mock(),  # rc7's log
        f"{DATASET}_text_processor": vocabulary,
        f"{DATASET}_answer_processor": vocabulary,
        f"{DATASET}_text_vocab_size": WORDS,
        f"{DATASET}_num_final_outputs": ANSWERS,
    }
    graph = SimpleNamespace(GraphNetworkModule=Graph)
    with (
        mock.patch.dict(registry.mapping["state"], entries),
        mock.patch("torch.hub.get_dir", lambda: str(Path(folder, "hub"))),
        mock.patch.dict(sys.modules, {"projects.krisp.graphnetwork_module": graph}),
    ):
        yield


def batch(fields, features=FEATURES, **changes):
    """A batch as MMF's datasets collate it.

    Args:
        fields: groups of fields: `"text"`, `"bert"`, `"features"`, `"image"`, `"ocr"`, `"caption"`.
        features: width of the image features.
        changes: further fields, or other values of these.
    """
    from mmf.common.sample import SampleList

    random = torch.Generator().manual_seed(2)

    def floats(*shape):
        return torch.rand(*shape, generator=random)

    def ints(low, high, *shape):
        return torch.randint(low, high, shape, generator=random)

    values = {"targets": floats(BATCH, ANSWERS), "dataset_name": DATASET, "dataset_type": "train"}
    if "text" in fields:
        values |= {"text": ints(4, WORDS - 5, BATCH, TOKENS), "text_len": torch.tensor([6, 4, 3])}
    if "bert" in fields:
        mask, labels = torch.ones(BATCH, TOKENS, dtype=torch.long), ints(5, WORDS, BATCH, TOKENS)
        mask[1, 4:] = 0
        labels[:, 3:] = -1
        values |= {
            "input_ids": ints(5, WORDS, BATCH, TOKENS),
            "input_mask": mask,
            "segment_ids": torch.zeros(BATCH, TOKENS, dtype=torch.long),
            "lm_label_ids": labels,
        }
    if "features" in fields:
        info = SampleList()
        info.max_features = torch.tensor([5, 4, 3])
        box = [0.1, 0.2, 0.6, 0.9] + [0.35] * (detect() == "main")  # main's processor adds the area
        info.bbox = torch.tensor(box) * floats(BATCH, REGIONS, 1)
        info.image_width, info.image_height = np.full(BATCH, 100.0), np.full(BATCH, 50.0)
        info.cls_prob = floats(BATCH, REGIONS, 4).numpy()
        values |= {
            "image_feature_0": floats(BATCH, REGIONS, features),
            "image_info_0": info,
            "image_labels": ints(0, 2, BATCH, REGIONS),
        }
    if "image" in fields:
        values["image"] = floats(BATCH, 3, PIXELS, PIXELS)
    if "ocr" in fields:
        values |= {
            "context": floats(BATCH, OCR, 300),
            "context_feature_0": floats(BATCH, OCR, 300),
            "context_feature_1": floats(BATCH, OCR, 604),
            "context_info_0": SimpleNamespace(max_features=torch.tensor([4, 3, 2])),
            "image_feature_1": floats(BATCH, OCR, features),
            "order_vectors": floats(BATCH, OCR, 50),
            "obj_bbox_coordinates": floats(BATCH, REGIONS, 4),
            "ocr_bbox_coordinates": floats(BATCH, OCR, 4),
            "train_prev_inds": ints(0, ANSWERS, BATCH, STEPS),
            "train_loss_mask": torch.ones(BATCH, STEPS),
            "targets": floats(BATCH, STEPS, ANSWERS),
        }
    if "caption" in fields:
        values |= {
            "answers": ints(4, WORDS - 5, BATCH, 5, TOKENS),
            "caption_len": torch.tensor([6, 4, 3]),
        }
    samples = SampleList()
    for key, value in (values | changes).items():
        if value is not None:
            samples.add_field(key, value)
    return samples


def model_config(name, yaml, **changes):
    """The configuration of a model: its yaml, or another one of MMF's, with changes."""
    from mmf.common.registry import registry
    from mmf.utils.configuration import load_yaml
    from mmf.utils.general import get_mmf_root

    path = yaml or registry.get_model_class(name).config_path()
    full = load_yaml(path) if path else OmegaConf.create()
    config = OmegaConf.merge(
        load_yaml(f"{get_mmf_root()}/configs/defaults.yaml"),
        {"env": {"data_dir": ".", "cache_dir": "."}},
        {"training": {"encoder_lr_multiply": 1, "device": "cpu"}},
        {
            "optimizer": {"type": "Adam", "params": {"lr": 0.001}},
            "datasets": DATASET,
            "model": name,
        },
        full,
    )
    OmegaConf.set_struct(config, False)
    config.model_config = config.get("model_config") or {name: {}}
    if name not in config.model_config:  # another name of the same model
        config.model_config[name] = next(iter(config.model_config.values()))
    for key, value in {"model": name, "losses": [{"type": "logit_bce"}], **changes}.items():
        OmegaConf.update(config, f"model_config.{name}.{key}", value, merge=False, force_add=True)
    return config
