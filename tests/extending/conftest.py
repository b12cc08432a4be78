"""A plugin of one's own outside of the repository, and what each of its components goes through."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import open_clip.modified_resnet
import pytest
import torch
from PIL import Image
from transformers import BertConfig, BertForPreTraining

from tests.bridge.runs import ROOT, Run, run_processes

HERE = Path(__file__).parent
FIXTURES = ROOT / "tests" / "fixtures"
UPDATES = 20
MODEL = "model_config.clipvil"
SHORT = (
    *("training.device=cpu", "training.num_workers=0", "training.tensorboard=false"),
    *("training.max_epochs=null", f"training.max_updates={UPDATES}", "training.log_interval=10"),
    *("training.batch_size=8", "training.evaluation_interval=10", "checkpoint.resume=true"),
    "training.checkpoint_interval=5",
)
VOCABULARY = FIXTURES / "vocab.txt"
# The fusion of vqa2_tiny.yaml, which custom_small.yaml gets too, so that one BERT fits both.
SIZES = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128}


@dataclass(frozen=True)
class Kind:
    """A kind of component, and its example in the plugin."""

    config: str
    files: tuple[str, ...]
    # Names of parameters that a BERT and a CLIP model fill -> the file's; none where nothing fits.
    from_bert: dict[str, str]
    from_clip: dict[str, str]
    dataset: str = "vqa2"
    is_tuned: bool = False


WORDS = {"fusion.embeddings.word.weight": "bert.embeddings.word_embeddings.weight"}
LAYER = {
    "fusion.layers.1.attention.query.weight": "bert.encoder.layer.1.attention.self.query.weight"
}
STEM = {"image_encoder.tower.conv1.weight": "visual.conv1.weight"}

KINDS = {
    "tuning method": Kind("prompt", ("prompt.py",), WORDS | LAYER, STEM, is_tuned=True),
    "fusion": Kind("bag", ("bag.py",), WORDS, STEM),
    "head": Kind("cosine", ("cosine.py",), WORDS | LAYER, STEM),
    "image encoder": Kind("conv_grid", ("conv_grid.py",), WORDS | LAYER, {}),
    "data set": Kind(
        "labelled_folders",
        ("labelled_folders.py", "labelled_folders.yaml"),
        WORDS | LAYER,
        STEM,
        dataset="labelled_folders",
    ),
}


@pytest.fixture(scope="session")
def outside(tmp_path_factory):
    """A folder that is not of the repository, with the plugin and everything that its runs read."""
    folder = tmp_path_factory.mktemp("outside")
    shutil.copytree(HERE / "myplugin", folder / "myplugin")
    _write_labelled_folders(folder / "data")
    torch.manual_seed(0)
    config = BertConfig(
        **SIZES,
        vocab_size=len((FIXTURES / "vocab.txt").read_text().splitlines()),
        num_hidden_layers=2,
        max_position_embeddings=32,
    )
    torch.save(BertForPreTraining(config).state_dict(), folder / "bert.bin")
    tower = open_clip.modified_resnet.ModifiedResNet([1, 1, 1, 1], 64, 4, width=8)
    state = {f"visual.{name}": value for name, value in tower.state_dict().items()}
    torch.save(state, folder / "clip.pt")
    return folder


def _write_labelled_folders(root):
    for split, count in (("train", 8), ("val", 2), ("test", 2)):
        for color in ("blue", "green", "red"):
            folder = root / split / color
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (48 + number, 40), color).save(folder / f"{number}.png")


@dataclass
class Way:
    """What a component of the plugin has gone through so far."""

    kind: Kind
    outside: Path
    folder: Path
    killed: Run | None = None
    resumed: Run | None = None
    predicted: Run | None = None
    at_the_kill: int = 0  # updates

    @property
    def options(self):
        kind, section = self.kind, f"dataset_config.{self.kind.dataset}"
        files = ["bert.bin", "clip.pt"] if kind.from_clip else ["bert.bin"]
        options = (
            f"config={self.outside}/myplugin/configs/{kind.config}.yaml",
            *SHORT,
            f"env.user_dir={self.outside / 'myplugin'}",
            f"{section}.processors.text_processor.params.vocab={VOCABULARY}",
            f"{MODEL}.pretrained={[str(self.outside / file) for file in files]}",
        )
        if kind.dataset == "vqa2":
            data = FIXTURES / "vqa2"
            options += ("training.update_frequency=1",)
        else:
            data = self.outside / "data"
            options += (
                *(f"{MODEL}.fusion.params.{key}={value}" for key, value in SIZES.items()),
                f"{MODEL}.image_encoder.params.tower.width=8",
            )
        return (*options, f"{section}.data_dir={data}")

    def run(self, **how):
        return run_processes(self.folder, *self.options, **how)


@pytest.fixture(scope="session")
def ways(outside, tmp_path_factory):
    """Kind -> the run of its component, made when it is asked for the first time."""
    made = {}

    def way(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name.replace(" ", "_"))
            made[name] = way = Way(KINDS[name], outside, folder)
            way.killed = way.run(kill_at=folder / "current.ckpt")
            way.at_the_kill = updates(way)
            way.resumed = way.run()
            way.predicted = way.run(predict=True)
        return made[name]

    return way


def updates(way):
    file = way.folder / "current.ckpt"
    return torch.load(file, weights_only=True)["num_updates"] if file.is_file() else 0


def python(outside, code, *arguments):
    """Run Python from the folder of the plugin."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=outside,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
