"""What recipes cost: at full size for two updates, and in small from training to a result file.

    python benchmarks/recipes.py [RECIPE ...] [--sizes full,tiny] [--batch-size N] [--python PYTHON]

Recipes are yaml files of projects/clipvil/configs: both stages of the pre-training, SNLI-VE, NLVR2,
and what trains on grid features. Data are the small files of tests/fixtures in official formats;
weights are random, those of a second stage the first one's. At full size (towers RN50x4 and RN50,
12 layers, 30,522 word pieces, the published number of pre-training answers) batches are small and
not accumulated. Each command runs in a process of its own, one after the other, whose time and peak
memory are the system's. MoVie-MCAN needs MMF main: name the interpreter of its environment.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmf_bridge.common.parent import end_with

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ROOT / "projects" / "clipvil" / "configs"
FIXTURES = ROOT / "tests" / "fixtures"
FULL, TINY = "full", "tiny"
UPDATES, WORDS, CELLS = 2, 30522, 6
ANSWERS = 9500  # of the pre-training's published table
MODEL, TUNING = "model_config.clipvil", "model_config.clipvil.tuning"
TINY_FUSION = (
    *("hidden_size=64", "num_hidden_layers=2", "num_attention_heads=4"),
    "intermediate_size=128",
)


@dataclass(frozen=True)
class Recipe:
    """A yaml file."""

    dataset: str
    tiny: str | None  # the yaml file in small; None where that of another recipe is the same
    tiny_options: tuple[str, ...] = ()
    start: str | None = None  # the recipe whose weights it starts from
    layout: str | None = None  # of the grid features that it reads
    model: str = "clipvil"


def _tuned(dataset: str) -> dict[str, Recipe]:
    adapters = ("adapter", "compacter", "low_rank_adapter")
    methods = ("unipt", "sherl", "ladder", "lora", *adapters)
    return {
        f"{dataset}_{method}": Recipe(dataset, f"{dataset}_tiny", (f"{TUNING}.method={method}",))
        for method in methods
    }


_NLVR2 = "dataset_config.nlvr2"
RECIPES = {
    "pretrain_stage1_rn50": Recipe("pretraining", None),
    "pretrain_stage2_rn50": Recipe("pretraining", None, start="pretrain_stage1_rn50"),
    "pretrain_stage1": Recipe("pretraining", "pretrain_stage1_tiny"),
    "pretrain_stage2": Recipe("pretraining", "pretrain_stage2_tiny", start="pretrain_stage1"),
    "snli_ve": Recipe("snli_ve", "snli_ve_tiny"),
    **_tuned("snli_ve"),
    "nlvr2": Recipe("nlvr2", "nlvr2_tiny"),
    **_tuned("nlvr2"),
    "nlvr2_two_passes": Recipe(
        "nlvr2",
        "nlvr2_tiny",
        (
            f"{_NLVR2}.task.params.pairing=two_passes",
            f"{_NLVR2}.image_transform=fit_pad",
            f"{_NLVR2}.image_size=[64,64]",
        ),
    ),
    "vqa2_unipt_grid": Recipe(
        "vqa2",
        "vqa2_unipt_grid",
        tuple(f"{MODEL}.fusion.params.{option}" for option in TINY_FUSION),
        layout="compact",
    ),
    "pythia_grid": Recipe("vqa2", "pythia_grid_tiny", layout="mmf_pythia", model="pythia"),
    "mcan_grid": Recipe("vqa2", "mcan_grid_tiny", layout="mmf_mcan", model="movie_mcan"),
}


@dataclass(frozen=True)
class Step:
    """A command of a recipe."""

    words: list[str]
    folder: Path  # where it writes
    results: str  # which of the files there are its results, a pattern


@dataclass(frozen=True)
class Cost:
    """What a process cost."""

    exit_code: int
    seconds: float
    peak: int  # bytes, of the largest of its processes


def main() -> None:
    """Run the recipes, then print the table; exit code 1 where one failed, 130 when interrupted.

    Interrupted, it prints the table of the commands that have ended.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help=", ".join(RECIPES))
    parser.add_argument("--sizes", default=f"{FULL},{TINY}", help="full, tiny or both")
    parser.add_argument("--batch-size", type=int, default=2, help="at full size")
    parser.add_argument("--python", default=sys.executable, help="of the environment to run in")
    parser.add_argument("--folder", type=Path, help="for data, runs and logs, which stay there")
    options = parser.parse_args()
    sizes = options.sizes.split(",")
    for kind, known, given in (
        ("recipe", list(RECIPES), options.recipes),
        ("size", [FULL, TINY], sizes),
    ):
        unknown = [name for name in given if name not in known]
        if unknown:
            parser.error(f"unknown {kind} {unknown[0]!r}; expected some of {', '.join(known)}")
    chosen = with_starts(options.recipes or [*RECIPES])
    python = Path(options.python)
    if line_of(python) != "main" and "mcan_grid" in chosen:
        print("mcan_grid is left out: MoVie-MCAN is MMF main's; name its --python", flush=True)
        chosen.remove("mcan_grid")
    console = Console(highlight=False, width=140)
    table = new_table(f"Batches of {options.batch_size} at full size; {os.cpu_count()} cores")
    exit_code = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        copy_data(folder / "data")
        try:
            for size in sizes:
                for name in chosen:
                    ended = run_recipe(name, size, folder, options.batch_size, python, table)
                    exit_code = exit_code if ended else 1
                    if size == FULL and not any(RECIPES[other].start == name for other in chosen):
                        shutil.rmtree(folder / FULL / name, ignore_errors=True)
        except KeyboardInterrupt:
            print("interrupted: the table has what has ended", flush=True)
            exit_code = 128 + signal.SIGINT
    console.print(table)
    sys.exit(exit_code)


def run_recipe(
    name: str, size: str, folder: Path, batch_size: int, python: Path, table: Table
) -> bool:
    """Run the commands of a recipe until one fails, a row each; say whether all ended well."""
    for step in steps(name, size, folder, batch_size):
        cost = run(step, python, folder / "logs", f"{name}, {size}")
        add_row(table, name, size, step, cost)
        if cost.exit_code:
            return False
    return True


def with_starts(names: Sequence[str]) -> list[str]:
    """The recipes and those that they start from, in the order of ``RECIPES``."""
    wanted = {*names, *(RECIPES[name].start for name in names)}
    return [name for name in RECIPES if name in wanted]


def line_of(python: Path) -> str:
    """The line of MMF that an environment has: rc7 or main."""
    code = "from mmf_bridge.line import detect; print(detect())"
    done = subprocess.run(
        [python, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def environment() -> dict[str, str]:
    """Where this checkout is imported."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def copy_data(folder: Path) -> None:
    """Copy the fixtures, with a table of answers of the pre-training as long as the published."""
    shutil.copytree(FIXTURES, folder, dirs_exist_ok=True)
    table = folder / "pretraining" / "all_ans.json"
    rows = json.loads(table.read_text(encoding="utf-8"))
    for number in range(len(rows), ANSWERS):
        rows.append({"ans": f"answer {number}", "dsets": ["vqa"]})
    full = folder / "all_ans.json"
    full.write_text(json.dumps(rows), encoding="utf-8")


def steps(name: str, size: str, folder: Path, batch_size: int) -> Iterator[Step]:
    """The commands of a recipe, one after the other: some look at what those before have left."""
    recipe = RECIPES[name]
    yaml = name if size == FULL else recipe.tiny
    if yaml is None:
        return
    save, data = folder / size / name, folder / "data"
    options = [f"config={CONFIGS / yaml}.yaml", "training.device=cpu", "training.tensorboard=false"]
    options += [f"env.{key}={folder / 'mmf'}" for key in ("data_dir", "cache_dir")]
    options.append(f"env.save_dir={save}")
    if recipe.start is not None:
        options.append(f"{MODEL}.pretrained={folder / size / recipe.start}")
    if recipe.model == "clipvil":
        section = f"dataset_config.{recipe.dataset}"
        vocabulary = f"{section}.processors.text_processor.params.vocab={data / 'vocab.txt'}"
        options += [f"{section}.data_dir={data / recipe.dataset}", vocabulary]
    if size == FULL:
        options += full_options(recipe, data, batch_size)
    else:
        options += recipe.tiny_options
    if recipe.layout is not None:
        features = folder / size / f"{name}_features"
        tower = "RN50x4:random"
        if size == TINY:
            tower = folder / TINY / "tower"
            if not (tower / "clipvil_final.pth").is_file():
                yield tower_step(tower, data)
        yield features_step(recipe, size, data, features, str(tower))
        options += grid_options(recipe, size, features)
    yield Step(["mmf_run", *options], save, "*_final.pth")
    if size == FULL:
        return
    if recipe.dataset == "pretraining":
        exported = save / "exported" / "Epoch11_LXRT.pth"
        exported.parent.mkdir(parents=True, exist_ok=True)
        words = ["clipvil", "export", str(save), "--output", str(exported)]
        yield Step(words, exported.parent, "*")
        return
    best = ["checkpoint.resume=true", "checkpoint.resume_best=true"]
    yield Step(["mmf_predict", *options, *best], save, "**/reports/*_*.*")


def full_options(recipe: Recipe, data: Path, batch_size: int) -> list[str]:
    """Two updates on small batches, with vocabularies as large as the published."""
    options = [
        *(f"training.max_updates={UPDATES}", "run_type=train", "training.log_interval=1"),
        *(f"training.batch_size={batch_size}", "training.num_workers=0"),
        *("training.persistent_workers=false", "training.update_frequency=1"),
    ]
    if recipe.model == "clipvil":
        options += [f"{MODEL}.fusion.params.vocab_size={WORDS}", "training.max_epochs=null"]
    if recipe.dataset == "pretraining":
        answers = "dataset_config.pretraining.processors.answer_processor.params.vocab"
        options.append(f"{answers}={data / 'all_ans.json'}")
    return options


def tower_step(folder: Path, data: Path) -> Step:
    """The training of a small tower."""
    section = "dataset_config.vqa2"
    words = [
        *("mmf_run", f"config={CONFIGS / 'vqa2_tiny.yaml'}", "training.device=cpu"),
        *(f"env.save_dir={folder}", f"{section}.data_dir={data / 'vqa2'}"),
        f"{section}.processors.text_processor.params.vocab={data / 'vocab.txt'}",
        f"{MODEL}.image_encoder.params.batch_norm=eval",
    ]
    return Step(words, folder, "*_final.pth")


def features_step(recipe: Recipe, size: str, data: Path, output: Path, tower: str) -> Step:
    """The extraction of grid features; of the published size by default."""
    splits = "train,nominival,minival,test" if recipe.layout == "compact" else "train,val,test"
    words = [
        *("clipvil", "features", "--dataset", "vqa2", "--root", str(data / "vqa2")),
        *("--split", splits, "--model", tower, "--layout", str(recipe.layout)),
        *("--output", str(output)),
    ]
    if size == TINY and recipe.layout != "compact":
        words += ["--preprocessing", "two_step", "--image-size", "64x96"]
    return Step(words, output, "**/*.npy" if recipe.layout != "compact" else "**/*.arrow")


def grid_options(recipe: Recipe, size: str, features: Path) -> list[str]:
    """Where the features are and, of a small tower, how large."""
    width = 256
    if recipe.model == "clipvil":
        options = [f"dataset_config.vqa2.features.path={features}"]
        if size == TINY:
            options += [
                *(f"{MODEL}.image_encoder.params.feature_size={width}", "training.batch_size=8"),
                *("training.max_epochs=2", "training.num_workers=0", "training.update_frequency=2"),
                "training.persistent_workers=false",
            ]
        return options
    options = [f"dataset_config.vqa2.data_dir={features}"]
    if size == TINY:
        options += [
            f"model_config.{recipe.model}.image_feature_dim={width}",
            f"dataset_config.vqa2.max_features={CELLS}",
        ]
    return options


def run(step: Step, python: Path, logs: Path, title: str) -> Cost:
    """Run a command of the environment of an interpreter; what it prints is a file of ``logs``."""
    program, *arguments = step.words
    logs.mkdir(parents=True, exist_ok=True)
    number = len(list(logs.iterdir())) + 1
    log = logs / f"{number:02d}_{title.replace(', ', '_')}_{program}.log"
    print(f"{title}: {program}, see {log} ...", flush=True)
    cost = measured([python.with_name(program), *arguments], log)
    print(f"    {cost.seconds:.0f} s, {cost.peak / 2**20:,.0f} MiB", flush=True)
    if cost.exit_code:
        print(log.read_text(encoding="utf-8", errors="replace")[-3000:], flush=True)
    return cost


def measured(command: Sequence[str | Path], log: Path) -> Cost:
    """Run a command in the repository, and ask the system what it took."""
    begin = time.perf_counter()
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=environment(),
            preexec_fn=functools.partial(end_with, os.getpid(), signal.SIGTERM),
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2)
    return Cost(process.returncode, time.perf_counter() - begin, usage.ru_maxrss * unit)


def new_table(title: str) -> Table:
    """The table without rows."""
    table = Table(title=title, title_justify="left")
    for head in ("yaml", "size", "command", "updates", "seconds", "peak MiB", "written"):
        is_number = head in ("updates", "seconds", "peak MiB")
        table.add_column(head, justify="right" if is_number else "left", no_wrap=True)
    return table


def add_row(table: Table, name: str, size: str, step: Step, cost: Cost) -> None:
    """Add what a command cost."""
    program = step.words[0]
    report = step.folder / "run_report.json"
    updates = ""
    if program == "mmf_run" and report.is_file():
        updates = f"{json.loads(report.read_text(encoding='utf-8'))['updates']:,}"
    command = " ".join(step.words[: 2 if program == "clipvil" else 1])
    written = f"failed: exit code {cost.exit_code}" if cost.exit_code else results_of(step)
    seconds, peak = f"{cost.seconds:.0f}", f"{cost.peak / 2**20:,.0f}"
    table.add_row(name, size, command, updates, seconds, peak, written)


def results_of(step: Step) -> str:
    """The result files of a command: the name of one, or how many, and their size."""
    found = sorted(path for path in step.folder.glob(step.results) if path.is_file())
    size = sum(path.stat().st_size for path in found) / 2**20
    what = found[0].name if len(found) == 1 else f"{len(found)} files"
    return f"{what}, {size:,.1f} MiB"


if __name__ == "__main__":
    main()
