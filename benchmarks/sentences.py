"""The pre-training's size: converting LXMERT's sentences, the first batch, memory of workers.

    python benchmarks/sentences.py [--sentences N] [--images M] [--workers 0,2] [--folder DIR]

Writes synthetic files in LXMERT's format of pre-training, and measures, each in processes of its
own, as `benchmarks/annotations.py` does for questions: no image file exists, every picture is the
same small constant one. Files are converted without torch and MMF, as by `clipvil prepare`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmf_bridge.common.resident import peak_resident

SENTENCES, IMAGES, ANSWERS = 9_180_000, 180_000, 9_500
# Share of all records and, of each, numbers of sentences by source: a caption of COCO has 52
# characters on average, a region's of Visual Genome 28, a question 30.
FILES: dict[str, tuple[float, dict[str, tuple[int, int]]]] = {
    "mscoco_train": (0.46, {"mscoco": (5, 9), "vg": (12, 5), "vqa": (6, 6), "gqa": (6, 7)}),
    "mscoco_nominival": (0.20, {"mscoco": (5, 9), "vg": (12, 5), "vqa": (5, 6), "gqa": (6, 7)}),
    "vgnococo": (0.34, {"vg": (51, 5), "visual7w": (17, 6), "gqa": (17, 7)}),
}
QUESTIONS = ("vqa", "gqa", "visual7w")
WORDS = "what color is the bus near old house many there man on dog in a red street".split()  # noqa: SIM905
SELF = [sys.executable, __file__]


def write_files(folder: Path, sentences: int, images: int) -> list[Path]:
    """Write the files and their table of answers, the same ones each time."""
    lots = random.Random(0)
    answers = [f"answer {i}" for i in range(ANSWERS)]
    table = [{"ans": answer, "dsets": [*QUESTIONS]} for answer in answers]
    (folder / "all_ans.json").write_text(json.dumps(table))
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "?", *"0123456789"]
    (folder / "vocab.txt").write_text("".join(f"{token}\n" for token in tokens))
    pools = {
        length: [" ".join(lots.choices(WORDS, k=length)) for _ in range(50_000)]
        for length in {length for _, sources in FILES.values() for _, length in sources.values()}
    }
    labels = [{lots.choice(answers): 1.0, lots.choice(answers): 0.3} for _ in range(50_000)]
    each = {
        name: sum(count for count, _ in sources.values()) for name, (_, sources) in FILES.items()
    }
    mean = sum(share * each[name] for name, (share, _) in FILES.items())
    scale = sentences / (mean * images)
    files = []
    for name, (share, sources) in FILES.items():
        files.append(folder / f"{name}.json")
        with files[-1].open("w") as file:
            for number in range(round(share * images)):
                said, known = {}, {}
                for source, (count, length) in sources.items():
                    wanted = int(count * scale + lots.random())
                    said[source] = lots.choices(pools[length], k=wanted)
                    if source in QUESTIONS:
                        known[source] = lots.choices(labels, k=wanted)
                in_coco = name.startswith("mscoco")
                image = f"COCO_train2014_{number:012d}" if in_coco else f"{number + 1}"
                if name == "mscoco_nominival":
                    image = image.replace("train", "val")
                row = {"img_id": image, "labelf": known, "sentf": said}
                file.write((", " if number else "[") + json.dumps(row))
            file.write("]")
    return files


def dataset_on(files: list[Path], stores: Path) -> tuple[Any, Any]:
    """The plugin's dataset on these files, mapped from their stores, and its batches."""
    from mmf.common.registry import registry
    from omegaconf import OmegaConf

    import clipvil_mmf.data.dataset as module
    from benchmarks.annotations import BATCH, OneEach
    from clipvil_mmf.data.pretraining import PretrainingDataset
    from clipvil_mmf.data.store import open_or_convert
    from clipvil_mmf.data.table import QuestionTable

    module.ImageStore = OneEach
    registry.register("config", OmegaConf.create({}))
    folder = files[0].parent
    text, answer = {"vocab": str(folder / "vocab.txt")}, {"vocab": str(folder / "all_ans.json")}
    config = {
        "data_dir": "",
        "image_size": [8, 8],
        "task": "pretraining",
        "group_by_image": False,
        "on_unknown_answer": "keep",
        "processors": {
            "text_processor": {"type": "clipvil_wordpiece", "params": text},
            "answer_processor": {"type": "clipvil_answer", "params": answer},
        },
    }
    tables = [open_or_convert([file], stores / file.stem) for file in files]
    dataset = PretrainingDataset(
        "pretraining",
        OmegaConf.create(config),
        "train",
        table=QuestionTable.concatenate(tables),
        training_questions=list,
    )
    dataset.init_processors()
    return dataset, dataset.build_batch_sampler(BATCH, True, 0, 0, 1)


def measure(what: str, stores: str, *arguments: str) -> None:
    """What ``child`` runs: prints its figures as JSON."""
    import clipvil_mmf.data.store

    if what != "convert":  # MMF and torch are no part of the time; `clipvil prepare` has neither
        import clipvil_mmf.data.labels
        import clipvil_mmf.data.pretraining
        import clipvil_mmf.text.wordpiece

    before = peak_resident() / 2**20
    began = time.perf_counter()
    if what == "convert":
        (file,) = map(Path, arguments)
        count = len(clipvil_mmf.data.store.open_or_convert([file], Path(stores) / file.stem))
        found: dict[str, Any] = {"count": count, "seconds": time.perf_counter() - began}
    else:
        workers, *files = arguments
        found = _measure_workers(int(workers), [*map(Path, files)], Path(stores), began)
    found["peak"] = peak_resident() / 2**20
    print(json.dumps({**found, "before": before}))


def _measure_workers(workers: int, files: list[Path], stores: Path, began: float) -> dict[str, Any]:
    """Memory of this process and of its workers after some batches; time to the first one."""
    import multiprocessing

    from torch.utils.data import DataLoader

    from benchmarks.annotations import BATCHES, memory
    from mmf_bridge.common.loading import EpochBatches, HandOver

    dataset, batches = dataset_on(files, stores)
    opened = time.perf_counter() - began
    loader = DataLoader(
        dataset,
        batch_sampler=EpochBatches(batches),
        collate_fn=HandOver(dataset.collate),
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,
    )
    iterator = iter(loader)
    next(iterator)
    first = time.perf_counter() - began
    for _ in range(min(BATCHES * max(workers, 1), len(batches)) - 1):
        next(iterator)
    mine = [memory(process.pid) for process in multiprocessing.active_children()]
    return {
        "opened": opened,
        "first": first,
        "main": memory(os.getpid()),
        "worker": {key: max(m[key] for m in mine) for key in mine[0]} if mine else {},
    }


def child(*arguments: object) -> dict[str, Any]:
    """Run one measurement of this file in a fresh process."""
    command = [*SELF, "--measure", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(result.stderr)
    return json.loads(result.stdout.strip().splitlines()[-1])


def report(sentences: int, images: int, workers: list[int], folder: Path) -> None:
    """Measure everything and print the tables."""
    console = Console(width=110)
    stores = folder / "stores"
    stores.mkdir()
    files = write_files(folder, sentences, images)
    rows = Table("file", "JSON MiB", "sentences", "conversion", "peak MiB (before)", "kept MiB")
    for file in files:
        run = child("convert", stores, file)
        (kept,) = stores.glob(f"{file.stem}-*/*.arrow")
        rows.add_row(
            file.stem,
            f"{file.stat().st_size / 2**20:.0f}",
            f"{run['count']:,}",
            f"{run['seconds']:.0f} s",
            f"{run['peak']:.0f} ({run['before']:.0f})",
            f"{kept.stat().st_size / 2**20:.0f}",
        )
    console.print(rows)
    rows = Table("workers", "opened", "first batch", "main RSS", "private", "worker PSS", "private")
    for count in workers:
        run = child("workers", stores, count, *files)
        rows.add_row(
            str(count),
            f"{run['opened']:.1f} s",
            f"{run['first']:.1f} s",
            f"{run['main']['rss']:.0f}",
            f"{run['main']['private']:.0f}",
            *(f"{run['worker'][key]:.0f}" if count else "-" for key in ("pss", "private")),
        )
    console.print(rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(*sys.argv[2:])
    else:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--sentences", type=int, default=SENTENCES)
        parser.add_argument("--images", type=int, default=IMAGES)
        parser.add_argument("--workers", default="0,2", help="numbers of workers")
        parser.add_argument("--folder", type=Path, help="where to write; it is not kept")
        chosen = parser.parse_args()
        counts = [int(count) for count in chosen.workers.split(",")]
        made = Path(tempfile.mkdtemp(prefix="sentences-", dir=chosen.folder))
        try:
            report(chosen.sentences, chosen.images, counts, made)
        finally:
            shutil.rmtree(made)
