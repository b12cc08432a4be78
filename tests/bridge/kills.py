"""Kills runs at random moments, and says what is left: `python -m tests.bridge.kills --count 40`.

Runs of the tiny plugin, whose batches are larger than a pipe, and conversions of question files,
each in a process forked from a warm one. `--ranks 10` kills one of two ranks instead.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.bridge import runs

WORKERS = ("training.num_workers=2", "dataset_config.tiny.ballast=100000")
ENDLESS = ("training.max_updates=1000000", "training.lr_scheduler=false")
TRAIN = ("run_type=train", *ENDLESS, "training.checkpoint_interval=5")
TRAIN += ("training.evaluation_interval=20", "checkpoint.max_to_keep=2")
PERSISTENT = "training.persistent_workers=true"
# name -> (options, options of the next start of the same run, which shall come to an end)
RUNS = {
    "train": ((*TRAIN, *WORKERS), ("training.max_updates=1", "checkpoint.resume=true")),
    "train, persistent": (
        (*TRAIN, *WORKERS, PERSISTENT),
        ("training.max_updates=1", "checkpoint.resume=true"),
    ),
    "train, 2 ranks": (
        (*TRAIN, *WORKERS, "distributed.world_size=2"),
        ("training.max_updates=1", "checkpoint.resume=true"),
    ),
    "val": (
        ("run_type=val", "dataset_config.tiny.sizes.val=50000", *WORKERS),
        ("dataset_config.tiny.sizes.val=20",),
    ),
    "predict": (
        ("dataset_config.tiny.sizes.test=50000", *WORKERS),
        ("dataset_config.tiny.sizes.test=20",),
    ),
    "predict, persistent": (
        ("dataset_config.tiny.sizes.test=50000", *WORKERS, PERSISTENT),
        ("dataset_config.tiny.sizes.test=20",),
    ),
    "prepare": ((), ()),
}
# How two ranks are started.
SPAWNED, ENVIRONMENT, TORCHRUN = "distributed.world_size=2", "torchrun's environment", "torchrun"
HOW = (SPAWNED, ENVIRONMENT, TORCHRUN)
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)
EARLY = 0.25  # of the runs are killed before they have workers
LATEST = 2.0  # seconds after its start, or after that of its workers, at which a run is killed
START = 60  # seconds for a run to start its workers
PATIENCE = 10  # seconds for the processes of a killed run to end


@dataclass
class Left:
    """What a killed run has left behind."""

    running: int  # processes as it was killed
    processes: int
    seconds: float  # until its last process had ended
    files: list[str] = field(default_factory=list)
    after_next: list[str] = field(default_factory=list)  # files, once the next start has ended
    next_code: int | None = None  # how that ended
    output: str = ""


def command(output, environment, opts, predict):
    """Run `mmf_run`, whose errors are one line."""
    sys.argv = ["mmf_run", *opts]
    runs._work(output, environment, None, predict)


def prepare(output, environment, opts, predict):
    """Run `clipvil prepare` in the folder that the options name."""
    os.environ.update(environment)
    os.setpgrp()
    file = os.open(output, os.O_CREAT | os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)
    from clipvil_mmf.cli.main import app

    root = next(opt.split("=", 1)[1] for opt in opts if opt.startswith("env.save_dir="))
    options = ("--splits", "train", "--allow-other-counts", "--no-image-check", "--min-count", "1")
    app(["prepare", "vqa2", "--root", root, *options])


def write_questions(root, count):
    """VQA v2's two files of the train split, of a size that takes a while."""
    names = ("v2_OpenEnded_mscoco_train2014_questions.json", "v2_mscoco_train2014_annotations.json")
    questions = [
        {"image_id": i // 5, "question": f"Is it {i}?", "question_id": i} for i in range(count)
    ]
    answers = [
        {"answer": "yes", "answer_confidence": "yes", "answer_id": number}
        for number in range(1, 11)
    ]
    annotations = [
        {
            **{"image_id": i // 5, "question_id": i, "answers": answers},
            **{"multiple_choice_answer": "yes", "answer_type": "yes/no", "question_type": "is it"},
        }
        for i in range(count)
    ]
    for name, rows in zip(names, (questions, annotations), strict=True):
        key = "questions" if "Questions" in name or "questions" in name else "annotations"
        (root / name).write_text(json.dumps({key: rows, "data_subtype": "train2014"}))
    (root / "train2014").mkdir()


def start(name, folder, output, opts, environment=None):
    """Start a run as the leader of a group of its own processes."""
    environment = {"TMPDIR": str(folder / "tmp"), **(environment or {})}
    target = prepare if name == "prepare" else command
    arguments = (str(output), environment, runs.options(folder / "run", opts), "predict" in name)
    process = runs._servers.Process(target=target, args=arguments)
    process.start()
    return process


def members(group):
    """The living processes of a group, zombies apart."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            state, _, its_group = (
                Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[:3]
            )
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(its_group) == group and state != "Z":
            found.append(int(entry))
    return found


def await_end(group, patience=PATIENCE):
    """Seconds until a group has no processes, and how many it then has still."""
    begin = time.monotonic()
    while (left := members(group)) and time.monotonic() - begin < patience:
        time.sleep(0.01)
    return time.monotonic() - begin, len(left)


def await_members(process, count):
    """Wait until a run has so many processes, or has ended."""
    end = time.monotonic() + START
    while len(members(process.pid)) < count and process.is_alive() and time.monotonic() < end:
        time.sleep(0.01)


def files_left(folder, processes):
    """Half-written files, locks, and whatever is in a place for temporary files.

    Of shared memory what has the id of one of the processes in its name: others have theirs.
    """
    found = [
        str(p.relative_to(folder))
        for p in (folder / "run").rglob("*")
        if p.name.startswith((".partial-", ".tmp")) or p.name.endswith(".lock")
    ]
    found += [str(p.relative_to(folder)) for p in (folder / "tmp").rglob("*")]
    shared = os.listdir("/dev/shm")
    return found + [
        name for name in shared if set(re.findall(r"\d+", name)) & set(map(str, processes))
    ]


def kill_run(name, signum, early, delay, folder, source=None):
    """Start a run, kill it, start it again: a `Left`.

    The kill comes `delay` seconds after the start if it is early, else after that of workers. A run
    that is over by then is started afresh and killed earlier.
    """
    opts, more = RUNS[name]
    (folder / "run").mkdir(parents=True)
    (folder / "tmp").mkdir()
    if source is not None:
        shutil.copytree(source, folder / "run", dirs_exist_ok=True)
    process = start(name, folder, folder / "output", opts)
    group = process.pid
    if not early and name != "prepare":
        await_members(process, 7 if "ranks" in name else 3)
    time.sleep(delay)
    if not process.is_alive():
        shutil.rmtree(folder)
        return kill_run(name, signum, early, delay / 2, folder, source)
    running = members(group)
    os.kill(group, signum)
    seconds, processes = await_end(group)
    if processes:
        os.killpg(group, signal.SIGKILL)
    process.join()
    left = Left(len(running), processes, seconds, files_left(folder, running))
    again = start(name, folder, folder / "next", (*opts, *more))
    again.join(60)
    left.next_code = again.exitcode
    again.kill()
    left.after_next = files_left(folder, running)
    left.output = (folder / "output").read_text() if (folder / "output").exists() else ""
    return left


def kill_rank(signum, delay, folder, how=SPAWNED, rank=1, persistent=False):
    """Kill one of two ranks: seconds until the others have ended, those left, and what they say.

    Of ranks with torchrun's environment that is what the other one says.
    """
    (folder / "run").mkdir(parents=True)
    (folder / "tmp").mkdir()
    opts = (*TRAIN, *WORKERS, *((PERSISTENT,) if persistent else ()))
    outputs = [folder / "output"]
    if how == ENVIRONMENT:
        from mmf_bridge.common.distributed import free_port

        port = str(free_port())
        outputs = [folder / f"output-{number}" for number in (0, 1)]
        started = [
            start("train", folder, output, opts, environment_of(number, port))
            for number, output in enumerate(outputs)
        ]
        ranks = [process.pid for process in started]
    else:
        if how == TORCHRUN:
            started = [torchrun(folder, opts)]
        else:
            started = [start("train", folder, outputs[0], (*opts, "distributed.world_size=2"))]
        end = time.monotonic() + START
        while len(ranks := children(started[0].pid)) < 2 and time.monotonic() < end:
            time.sleep(0.01)
    end = time.monotonic() + START
    while not (folder / "run" / "current.ckpt").exists() and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(delay)
    os.kill(ranks[rank], signum)
    # torchrun's ranks have groups of their own.
    groups = dict.fromkeys([*(process.pid for process in started), *ranks])
    ended = [await_end(group, patience=40) for group in groups]
    for process in started:
        process.kill()
        process.wait() if how == TORCHRUN else process.join()
    texts = [output.read_text().rstrip() for output in outputs]
    survivor = texts[0] if len(texts) == 1 else texts[1 - rank]
    return sum(s for s, _ in ended), sum(n for _, n in ended), survivor


def torchrun(folder, opts):
    """Start a run by torchrun itself, as the leader of a group."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
    command += ["--rdzv_backend=c10d", "--rdzv_endpoint=localhost:0", "-m", "mmf_cli.run"]
    with (folder / "output").open("w") as output:
        return subprocess.Popen(
            [*command, *runs.options(folder / "run", opts)],
            cwd=runs.ROOT,
            env={**os.environ, "TMPDIR": str(folder / "tmp"), "OMP_NUM_THREADS": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def environment_of(rank, port):
    """What torchrun tells a rank."""
    names = {"MASTER_ADDR": "localhost", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    return {**names, "RANK": str(rank), "LOCAL_RANK": str(rank)}


def children(pid):
    """The ids of the processes that a process has started, oldest first."""
    text = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in text.read_text().split()] if text.exists() else []


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=0, help="runs to kill")
    parser.add_argument(
        "--ranks", type=int, default=0, help="runs of two ranks of which one is killed"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--questions", type=int, default=60_000, help="that a conversion has")
    given = parser.parse_args(arguments)
    draw = random.Random(given.seed)
    with tempfile.TemporaryDirectory(prefix="kills-") as place:
        place = Path(place)
        if given.count:
            report_runs(given, draw, place)
        if given.ranks:
            report_ranks(given, draw, place)


def report_runs(given, draw, place):
    (place / "questions").mkdir()
    write_questions(place / "questions", given.questions)
    lefts = []
    columns = f"{'of':>4} {'left':>5} {'seconds':>8} {'files':>6} {'after':>6}  next"
    print(f"{'run':20} {'signal':8} {columns}")
    for number in range(given.count):
        name = list(RUNS)[number % len(RUNS)]
        signum = SIGNALS[number // len(RUNS) % len(SIGNALS)]
        early, delay = draw.random() < EARLY, draw.uniform(0.0, LATEST)
        source = place / "questions" if name == "prepare" else None
        left = kill_run(name, signum, early, delay, place / str(number), source)
        lefts.append(left)
        print(
            f"{name:20} {signum.name:8} {left.running:4} {left.processes:5} {left.seconds:8.2f} "
            f"{len(left.files):6} {len(left.after_next):6}  {left.next_code}  "
            + ", ".join(left.files),
            flush=True,
        )
        shutil.rmtree(place / str(number))
    print(
        f"{len(lefts)} kills: processes left {sum(left.processes for left in lefts)} (of "
        f"{sum(left.processes > 0 for left in lefts)} runs), files left "
        f"{sum(len(left.files) for left in lefts)}, after the next start "
        f"{sum(len(left.after_next) for left in lefts)}; at most "
        f"{max(left.seconds for left in lefts):.2f} s"
    )


def report_ranks(given, draw, place):
    for number in range(given.ranks):
        how, rank, persistent = HOW[number % 3], number // 3 % 2, number // 6 % 2 == 1
        seconds, processes, text = kill_rank(
            *(signal.SIGKILL, draw.uniform(0, 1), place / f"rank{number}"),
            **{"how": how, "rank": rank, "persistent": persistent},
        )
        workers = "2 persistent workers" if persistent else "2 workers"
        lines = text.splitlines()
        said = [line.strip() for line in lines if line.startswith("error:") or "exitcode " in line]
        print(
            f"rank {rank} killed ({how}, {workers}): the others ended after {seconds:.2f} s, left "
            f"{processes}, {sum('Traceback' in line for line in lines)} tracebacks: "
            + "; ".join(said),
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
