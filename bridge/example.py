"""A small question-answering data set in MMF's own format, and a yaml file to train Pythia on it.

    python bridge/example.py FOLDER
    mmf_run config=FOLDER/pythia.yaml
    mmf_predict config=FOLDER/pythia.yaml checkpoint.resume=true checkpoint.resume_best=true

Each image is eight regions of 16 random features; one of the first four is larger for its colour,
one of the next four for its shape, and the questions ask for one of the two.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

REGIONS, WIDTH = 8, 16
COLOURS, SHAPES = ("red", "green", "blue", "grey"), ("circle", "square", "star", "cross")
SPLITS = {"train": 600, "val": 100, "test": 100}
YAML = """\
model: pythia
dataset: vqa2

model_config:
  pythia:
    image_feature_dim: {width}
    image_feature_encodings: [{{type: default, params: {{model_data_dir: {folder}}}}}]
    image_feature_embeddings:
    - modal_combine: &combine
        type: non_linear_element_multiply
        params: {{dropout: 0, hidden_dim: 64}}
      normalization: softmax
      transform: {{type: linear, params: {{out_dim: 1}}}}
    text_embeddings:
    - type: attention
      params: {{hidden_dim: 64, num_layers: 1, conv1_out: 32, conv2_out: 2, dropout: 0,
               embedding_dim: 300, kernel_size: 1, padding: 0, model_data_dir: {folder}}}
    image_text_modal_combine: *combine
    classifier: {{type: logit, params: {{img_hidden_dim: 64, text_hidden_dim: 64}}}}

dataset_config:
  vqa2:
    data_dir: {folder}
    zoo_requirements: [none]
    max_features: {regions}
    features: {{train: [features], val: [features], test: [features]}}
    annotations: {{train: [train.npy], val: [val.npy], test: [test.npy]}}
    processors:
      text_processor:
        params:
          vocab: {{type: random, vocab_file: words.txt, embedding_dim: 300}}
      answer_processor:
        params: {{vocab_file: answers.txt}}

optimizer: {{type: Adam, params: {{lr: 0.005}}}}
scheduler: {{}}
evaluation: {{metrics: [vqa_accuracy]}}
env: {{save_dir: {folder}/run, data_dir: {folder}, cache_dir: {folder}}}
training:
  seed: 1
  batch_size: 32
  num_workers: 0
  max_updates: 200
  max_epochs: null
  evaluation_interval: 50
  log_interval: 50
  device: cpu
  tensorboard: false
  early_stop: {{criteria: vqa2/vqa_accuracy, minimize: false}}
"""


def write(folder: Path) -> None:
    """Write features, annotations, vocabularies and `pythia.yaml` into a folder."""
    random = np.random.default_rng(0)
    (folder / "features").mkdir(parents=True, exist_ok=True)
    words = ["what", "colour", "shape", "is", "it"]
    (folder / "words.txt").write_text("\n".join(words))
    (folder / "answers.txt").write_text("\n".join(["<unk>", *COLOURS, *SHAPES]))
    for split, number in SPLITS.items():
        rows = [{"version": 1, "dataset_name": "vqa2"}]  # MMF skips the first
        for index in range(number):
            name = f"{split}{index}.npy"
            colour, shape = random.integers(4, size=2)
            features = 0.3 * random.normal(size=(REGIONS, WIDTH)).astype(np.float32)
            features[:, [colour, 4 + shape]] += 1
            np.save(folder / "features" / name, features)
            kind, answer = (("colour", COLOURS[colour]), ("shape", SHAPES[shape]))[index % 2]
            rows.append(
                {
                    "question_id": len(rows),
                    "question_str": f"what {kind} is it?",
                    "question_tokens": ["what", kind, "is", "it"],
                    "image_id": index,
                    "image_name": name.removesuffix(".npy"),
                    "feature_path": name,
                    "answers": [answer] * 10,
                }
            )
        np.save(folder / f"{split}.npy", np.array(rows, dtype=object), allow_pickle=True)
    text = YAML.format(folder=folder, width=WIDTH, regions=REGIONS)
    (folder / "pythia.yaml").write_text(text)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python bridge/example.py FOLDER")
    write(Path(sys.argv[1]).resolve())
    print(f"mmf_run config={sys.argv[1]}/pythia.yaml")
