"""A plugin of one's own outside of the repository, and what each of its components goes through."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import open_clip.modified_resnet
import pytest
import torch
from PIL import Image
from transformers import BertConfig, BertForPreTraining

from tests.bridge.runs import PATIENCE, ROOT, Run, _servers, run_processes

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
    is_of_networks: bool = True


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
        is_of_networks=False,
    ),
    "file format": Kind(
        "tsv", ("tsv.py",), WORDS | LAYER, STEM, dataset="clipvil_custom", is_of_networks=False
    ),
    "task": Kind("majority", ("majority.py",), WORDS | LAYER, STEM, is_of_networks=False),
}


@pytest.fixture(scope="session")
def outside(tmp_path_factory):
    """A folder that is not of the repository, with the plugin and everything that its runs read."""
    folder = tmp_path_factory.mktemp("outside")
    shutil.copytree(HERE / "myplugin", folder / "myplugin")
    _write_labelled_folders(folder / "labelled_folders")
    _write_tables(folder / "clipvil_custom")
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


def _write_tables(root):
    """The questions of tests/fixtures/own, as tables with tabs."""
    shutil.copytree(FIXTURES / "own" / "images", root)
    columns = ("question_id", "image", "question", "answer")
    files = {"train": "questions", "val": "questions_val", "test": "questions_val"}
    for split, name in files.items():
        with (root / f"{split}.tsv").open("w", newline="") as file:
            table = csv.DictWriter(file, columns, "", "ignore", delimiter="\t")
            table.writeheader()
            table.writerows(json.loads((FIXTURES / "own" / f"{name}.json").read_text()))


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

    def options(self, config):
        kind, section = self.kind, f"dataset_config.{self.kind.dataset}"
        options = (
            f"config={self.outside}/myplugin/configs/{config}.yaml",
            *SHORT,
            f"env.user_dir={self.outside / 'myplugin'}",
            f"{section}.processors.text_processor.params.vocab={VOCABULARY}",
        )
        if kind.dataset == "vqa2":
            data = FIXTURES / "vqa2"
            options += ("training.update_frequency=1",)
        else:
            data = self.outside / kind.dataset
            options += (
                *(f"{MODEL}.fusion.params.{key}={value}" for key, value in SIZES.items()),
                f"{MODEL}.image_encoder.params.tower.width=8",
            )
        return (*options, f"{section}.data_dir={data}")

    def pretrained(self, *files):
        return f"{MODEL}.pretrained={[str(self.outside / file) for file in files]}"

    def run_in(self, folder, config, *more, **how):
        """Run MMF; see run_processes."""
        return run_processes(folder, *self.options(config), *more, **how)

    def run(self, *more, **how):
        # A tuning method needs a whole backbone: what no file gives is random.
        files = ["backbone"] if self.kind.is_tuned else self.files
        return self.run_in(self.folder, self.kind.config, self.pretrained(*files), *more, **how)

    @property
    def files(self):
        return ["bert.bin", "clip.pt"] if self.kind.from_clip else ["bert.bin"]

    def start_from(self, *files):
        """The log of a start, and what the network is before the first update."""
        file = self.folder / f"start-{'-'.join(files)}.pt"
        options = (f"env.save_dir={self.folder / 'start'}", *self.options(self.kind.config))
        done = in_a_fork(self.outside, _load_only, [*options, self.pretrained(*files)], file)
        return done, torch.load(file, weights_only=True) if file.is_file() else {}

    @property
    def merged(self):
        return self.folder / "merged"

    def merge_command(self, output):
        return "merge", self.folder, "--output", output, "--user-dir", "myplugin"

    def go(self):
        """Start, be killed, go on, predict."""
        if self.kind.is_tuned:
            options = (self.pretrained(*self.files), "training.max_updates=2")
            options += (f"{MODEL}.fusion.type=joint",)  # the yaml's is of one's own
            backbone = self.run_in(self.outside / "backbone", "bag", *options)
            assert backbone.exit_codes == [0], backbone.output
        self.killed = self.run(kill_at=self.folder / "current.ckpt")
        self.at_the_kill = updates(self.folder)
        self.resumed = self.run()
        self.predicted = self.run("checkpoint.resume_best=true", predict=True)
        if self.kind.is_tuned:
            clipvil(self.outside, *self.merge_command(self.merged))


@pytest.fixture(scope="session")
def ways(outside, tmp_path_factory):
    """Kind -> what its component has gone through, when it is asked for the first time."""
    made = {}

    def way(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name.replace(" ", "_"))
            made[name] = Way(KINDS[name], outside, folder)
            made[name].go()
        return made[name]

    return way


def updates(folder):
    """How many updates the last checkpoint has seen."""
    file = folder / "current.ckpt"
    return torch.load(file, weights_only=True)["num_updates"] if file.is_file() else 0


def predictions(way):
    """The rows of the prediction file."""
    (file,) = way.folder.rglob("reports/*_*.json")
    return json.loads(file.read_text())


def in_a_fork(folder, function, *arguments):
    """Run a function in a forked process, in a folder; what it prints is the output."""
    output = folder / f"output-{time.time_ns()}"
    process = _servers.Process(target=_inside, args=(output, folder, function, *arguments))
    process.start()
    process.join(PATIENCE)
    process.kill()
    process.join()
    return Run(folder, output=output.read_text(), exit_codes=[process.exitcode])


def _inside(output, folder, function, *arguments):
    file = os.open(output, os.O_CREAT | os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    os.environ["COLUMNS"] = "999"
    os.chdir(folder)
    torch.set_num_threads(1)
    function(*arguments)


def clipvil(outside, *arguments):
    """Run the command `clipvil` in the folder of the plugin."""
    return in_a_fork(outside, _clipvil, [*map(str, arguments)])


def _clipvil(arguments):
    from clipvil_mmf.cli.main import app

    app(arguments)


def _load_only(options, file):
    import mmf_cli.run

    from mmf_bridge.common import launch

    def work(trainer, predict):
        trainer.load()
        torch.save(trainer.model.network.state_dict(), file)

    launch.work = work
    mmf_cli.run.run(options)


IN_PYTHON = """
import json
import sys
import traceback

import clipvil_mmf
import myplugin

for line in sys.stdin:
    path, images, questions = json.loads(line)
    try:
        model = clipvil_mmf.from_pretrained(path)
        found = [best[0][0] for best in model.answer(images, questions, top_k=1)]
        assert "mmf" not in sys.modules, "MMF was imported"
    except Exception:
        found = traceback.format_exc()
    print(json.dumps(found), flush=True)
"""


@pytest.fixture(scope="session")
def answers_in_python(outside):
    """What Python answers to the questions of a test split, in their order; one process for all."""
    command = [sys.executable, "-c", IN_PYTHON]
    with subprocess.Popen(command, cwd=outside, stdin=-1, stdout=-1, text=True) as process:

        def answers(way, model):
            print(json.dumps([str(model), *asked(way)]), file=process.stdin, flush=True)
            return json.loads(process.stdout.readline())

        yield answers
        process.stdin.close()


def asked(way):
    """The images of the questions of the test split, and the questions."""
    if way.kind.dataset == "vqa2":
        root = FIXTURES / "vqa2"
        rows = json.loads((root / "v2_OpenEnded_mscoco_test2015_questions.json").read_text())
        return (
            [f"{root}/test2015/COCO_test2015_{q['image_id']:012}.jpg" for q in rows["questions"]],
            [q["question"] for q in rows["questions"]],
        )
    root = way.outside / way.kind.dataset
    if way.kind.dataset == "labelled_folders":
        images = sorted(map(str, root.glob("test/*/*.png")))
        return images, ["What is this?"] * len(images)
    rows = list(csv.DictReader((root / "test.tsv").open(), delimiter="\t"))
    return [str(root / row["image"]) for row in rows], [row["question"] for row in rows]
