"""Models of MMF through its own commands: features and annotations in MMF's npy format."""

import json

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from mmf_bridge.line import detect
from tests.bridge import runs
from tests.bridge.models import small, table

QUESTIONS, ANSWERS = 6, [f"answer{number}" for number in range(small.ANSWERS - 1)]
# Model -> its text processor; MoVie-MCAN reads a grid of features, the others regions.
MODELS = {
    "pythia": "vocab",
    "ban": "vocab",
    "movie_mcan": "vocab",
    "visual_bert": "bert",
    "vilbert": "bert",
    "lxmert": "bert",
}


@pytest.fixture(scope="module")
def dataset(files):
    """Folder of a VQA data set of six questions, two for training, in MMF's format."""
    random = np.random.default_rng(3)
    for folder in ("regions", "grid"):
        (files / folder).mkdir()
    words = "\n".join(["word1", "word2", "word3"])
    (files / "question_words.txt").write_text(words)
    (files / "answers.txt").write_text("\n".join(["<unk>", *ANSWERS]))
    vectors = random.normal(size=(4, 300))
    lines = [
        " ".join([f"word{row}", *map(str, vector.round(4))]) for row, vector in enumerate(vectors)
    ]
    (files / "glove.6B.300d.txt").write_text("\n".join(lines))
    rows = [{"dataset_name": "vqa", "version": 1}]
    for number in range(QUESTIONS):
        features = random.normal(size=(small.REGIONS, small.FEATURES)).astype("f4")
        box = [10.0, 10.0, 60.0, 40.0]
        info = {
            "image_width": 100,
            "image_height": 50,
            "bbox": np.array([box] * small.REGIONS, dtype="f4"),
            "cls_prob": np.full((small.REGIONS, 4), 0.25, dtype="f4"),
            "num_boxes": small.REGIONS,
        }
        np.save(files / f"regions/{number}.npy", features)
        np.save(files / f"regions/{number}_info.npy", info)
        grid = random.normal(size=(1, small.FEATURES, 2, 2)).astype("f4")
        np.save(files / f"grid/{number}.npy", grid)
        rows.append(
            {
                "question_id": 100 + number,
                "question_str": "word1 word2?",
                "question_tokens": ["word1", "word2"],
                "image_id": number,
                "image_name": str(number),
                "feature_path": f"{number}.npy",
                "answers": [ANSWERS[number % 3]] * 10,
            }
        )
    np.save(files / "train.npy", np.array(rows, dtype=object), allow_pickle=True)
    np.save(files / "test.npy", np.array(rows[:4], dtype=object), allow_pickle=True)
    return files


def configuration(name, folder):
    """The yaml of a run: that of MMF for the data set, with these files."""
    model = small.model_config(name, None, **table.MODELS[name].config).model_config[name]
    model = json.loads(
        json.dumps(OmegaConf.to_container(model, resolve=True))
        .replace(f'"{small.BERT_NAME}"', f'"{folder / small.BERT_NAME}"')
        .replace('"model_data_dir": "."', f'"model_data_dir": "{folder}"')
    )
    features = "grid" if name == "movie_mcan" else "regions"
    processors = {
        "answer_processor": {"params": {"vocab_file": str(folder / "answers.txt")}},
        "text_processor": {"params": {"vocab": {"vocab_file": str(folder / "question_words.txt")}}},
    }
    if MODELS[name] == "bert":
        tokenizer = {"type": str(folder / small.BERT_NAME), "params": {"do_lower_case": True}}
        processors["text_processor"] = {
            "type": "bert_tokenizer",
            "params": {
                "tokenizer_config": tokenizer,
                "mask_probability": 0,
                "max_seq_length": small.TOKENS,
            },
        }
        if detect() == "main" and name != "visual_bert":
            keys = {
                key: key.removesuffix("_key") for key in ("image_width_key", "image_height_key")
            }
            processors["transformer_bbox_processor"] = {
                "type": "transformer_bbox",
                "params": {"bbox_key": "bbox", **keys},
            }
    dataset = {
        "data_dir": str(folder),
        "depth_first": name == "movie_mcan",
        "max_features": 4 if name == "movie_mcan" else small.REGIONS,
        "zoo_requirements": ["none"],
        "return_features_info": MODELS[name] == "bert",
        "features": {split: [str(folder / features)] for split in ("train", "val", "test")},
        "annotations": {
            split: [str(folder / f"{'test' if split == 'test' else 'train'}.npy")]
            for split in ("train", "val", "test")
        },
        "processors": processors,
    }
    return {
        "model": name,
        "dataset": "vqa2",
        "model_config": {name: model},
        "dataset_config": {"vqa2": dataset},
        "optimizer": {"type": "SGD", "params": {"lr": 0.01}},
        "scheduler": {},
        "evaluation": {"metrics": ["vqa_accuracy"]},
        "env": {"cache_dir": str(folder), "data_dir": str(folder)},
        "training": {
            "device": "cpu",
            "seed": 1,
            "num_workers": 0,
            "batch_size": 2,
            "max_updates": 2,
            "max_epochs": None,
            "log_interval": 1,
            "evaluation_interval": 100,
            "checkpoint_interval": 100,
            "tensorboard": False,
            "encoder_lr_multiply": 1,
            "early_stop": {"criteria": "vqa2/vqa_accuracy", "minimize": False},
        },
    }


@pytest.mark.parametrize("name", MODELS)
def test_the_commands_train_and_predict(name, dataset, tmp_path):
    from mmf.common.registry import registry

    if registry.get_model_class(name) is None:
        pytest.skip(f"this line of MMF has no {name}")
    OmegaConf.save(configuration(name, dataset), tmp_path / "run.yaml")
    options = [f"config={tmp_path / 'run.yaml'}", f"env.save_dir={tmp_path / 'run'}"]
    run = runs.run_options(tmp_path, options)
    assert run.exit_codes == [0], run.output[-3000:]
    weights = torch.load(tmp_path / "run" / f"{name}_final.pth", weights_only=True)
    assert not [key for key, weight in weights.items() if not torch.isfinite(weight).all()]
    run = runs.run_options(tmp_path, [*options, "checkpoint.resume=true"], predict=True)
    assert run.exit_codes == [0], run.output[-3000:]
    (file,) = (tmp_path / "run").rglob("reports/*_*.json")
    rows = json.loads(file.read_text())
    assert [row["question_id"] for row in rows] == [100, 101, 102]
    assert all(row["answer"] in ANSWERS for row in rows)
