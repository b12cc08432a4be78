"""How fast batches of images reach a training loop, and what they cost its process.

    python benchmarks/feeding.py [--images N] [--batch B] [--workers 1,2] [--consumer R]

Writes JPEGs of 640x480 pixels (the size of most of VQA's) into a temporary folder, one question
each, and measures

* transport alone: workers fill batches with one ready picture and hand them over;
* end to end: the plugin's dataset decodes, resizes and tokenises in the run's own data loader,
  against processes that do nothing but decode and resize the same files, in turn;
* the main process: its processor time per image, in both;
* with ``--consumer R``, a training loop that takes R images a second without using the processor,
  as one on a GPU does: the share of time that it waits for data.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset

from clipvil_mmf.data.images import ImageParams, build_transform, decode
from clipvil_mmf.data.questions import Question
from clipvil_mmf.data.table import QuestionTable
from mmf_bridge.common.loading import build_dataloader
from mmf_bridge.common.shared_batches import HandOver, empty

DISTINCT = 64  # JPEGs; further files are copies of them
TRANSPORTED = 100  # batches, for each number of workers
PIPED = 10  # batches, through a pipe


def write_images(folder: Path, count: int) -> list[str]:
    """Write JPEG files of 640x480 pixels with details as photographs have them, each time alike."""
    lots = np.random.default_rng(0)
    paths = [folder / f"{i}.jpg" for i in range(count)]
    for i, path in enumerate(paths):
        if i >= DISTINCT:
            shutil.copyfile(paths[i % DISTINCT], path)
            continue
        small = lots.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(small).resize((640, 480), Image.Resampling.BICUBIC))
        pixels = smooth + lots.normal(0, 6, smooth.shape)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return [str(path) for path in paths]


class Ready(Dataset):
    """Batches of one picture that is in memory already."""

    dataset_name, dataset_type = "ready", "train"

    def __init__(self, size: tuple[int, int], count: int) -> None:
        self._picture = torch.randint(0, 256, (*size, 3), dtype=torch.uint8)
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitems__(self, rows: list[int]) -> dict[str, torch.Tensor]:
        pixels = empty((len(rows), *self._picture.shape), torch.uint8)
        return {"images": pixels.copy_(self._picture).permute(0, 3, 1, 2)}

    def collate(self, batch: Any) -> Any:
        return batch

    def batch_bytes(self, samples: int) -> int:
        return samples * self._picture.numel()


def questions_on(paths: list[str], size: tuple[int, int]) -> Dataset:
    """The plugin's dataset, with a question about each image."""
    from mmf.common.registry import registry
    from omegaconf import OmegaConf

    import clipvil_mmf.data.labels
    import clipvil_mmf.text.wordpiece  # noqa: F401
    from clipvil_mmf.data.dataset import ClipVilDataset

    registry.register("config", OmegaConf.create({}))
    questions = [Question(i, "what is it?", path, {"red": 1.0}) for i, path in enumerate(paths)]
    processors = {
        "text_processor": {"type": "clipvil_wordpiece", "params": {}},
        "answer_processor": {"type": "clipvil_answer", "params": {"vocab": "dataset"}},
    }
    dataset = ClipVilDataset(
        "feeding",
        OmegaConf.create({"data_dir": "", "image_size": list(size), "processors": processors}),
        "train",
        table=QuestionTable.from_questions(questions, "feeding.json"),
        training_questions=lambda: ["what is it?"],
        labels=lambda: ["red"],
    )
    dataset.init_processors()
    return dataset


def loader_of(dataset: Any, batch: int, workers: int) -> DataLoader:
    """The data loader of a run."""
    training = SimpleNamespace(
        batch_size=batch, num_workers=workers, pin_memory=False, get=lambda *_: None
    )
    return build_dataloader(dataset, training, 0, None)[0]


def taken(loader: DataLoader, consumer: float | None = None) -> dict[str, float]:
    """What an epoch takes: images a second, main process in ms an image, share of waiting."""
    images, waited = 0, 0.0
    began, used = time.perf_counter(), time.process_time()
    batches: Iterator[Any] = iter(loader)
    while True:
        before = time.perf_counter()
        batch = next(batches, None)
        waited += time.perf_counter() - before
        if batch is None:
            break
        images += len(batch["images"])
        if consumer is not None:
            time.sleep(len(batch["images"]) / consumer)
    seconds = time.perf_counter() - began
    return {
        "rate": images / seconds,
        "main": 1000 * (time.process_time() - used) / images,
        "waiting": waited / seconds,
    }


def decode_all(paths: list[str], size: tuple[int, int]) -> None:
    """What a process of the decoding loop does."""
    torch.set_num_threads(1)  # as in a worker
    transform = build_transform(ImageParams(image_size=list(size)))
    for path in paths:
        decode(path, transform)


def decoding_rate(paths: list[str], size: tuple[int, int], processes: int) -> float:
    """Images a second of processes that decode and resize, each its share, and keep nothing."""
    context = multiprocessing.get_context("fork")
    shares = [paths[i::processes] for i in range(processes)]
    began = time.perf_counter()
    running = [context.Process(target=decode_all, args=(share, size)) for share in shares]
    for process in running:
        process.start()
    for process in running:
        process.join()
    if any(process.exitcode for process in running):
        raise RuntimeError("a decoding process has failed")
    return len(paths) / (time.perf_counter() - began)


def report(options: argparse.Namespace) -> None:
    """Measure everything and print the tables."""
    console, batch, size = Console(width=110), options.batch, tuple(options.size)
    table = Table(
        title=f"transport alone: batches of {batch} pictures, (3, {size[0]}, {size[1]}) uint8",
        caption="The first round of slots included, when the system gives the memory.",
    )
    for name in ("by", "workers", "images/s", "main process, ms an image"):
        table.add_column(name, justify="right")
    for workers in options.workers:
        found = taken(loader_of(Ready(size, batch * options.batches), batch, workers))
        table.add_row("slots", str(workers), f"{found['rate']:,.0f}", f"{found['main']:.3f}")
        ready = Ready(size, batch * min(PIPED, options.batches))
        piped = DataLoader(ready, batch, num_workers=workers, collate_fn=HandOver(ready.collate))
        found = taken(piped)
        table.add_row("pipe", str(workers), f"{found['rate']:,.0f}", f"{found['main']:.3f}")
    console.print(table)

    folder = Path(tempfile.mkdtemp(prefix="feeding-"))
    try:
        paths = write_images(folder, options.images)
        dataset = questions_on(paths, size)
        mean = statistics.mean(Path(path).stat().st_size for path in paths) / 1024
        table = Table(
            title=f"end to end: {options.images} JPEGs of 640x480 ({mean:.0f} KiB), medians of "
            f"{options.repeats}",
            caption="Both with the start of their processes.",
        )
        names = ("workers", "decoding loop, images/s", "end to end, images/s", "share")
        for name in (*names, "main process, ms an image"):
            table.add_column(name, justify="right")
        for workers in options.workers:
            loader = loader_of(dataset, batch, workers)
            pairs = [
                (decoding_rate(paths, size, workers), taken(loader)) for _ in range(options.repeats)
            ]
            plain = statistics.median(rate for rate, _ in pairs)
            ours = statistics.median(found["rate"] for _, found in pairs)
            share = statistics.median(found["rate"] / rate for rate, found in pairs)
            main = statistics.median(found["main"] for _, found in pairs)
            table.add_row(
                str(workers), f"{plain:.0f}", f"{ours:.0f}", f"{share:.0%}", f"{main:.3f}"
            )
        console.print(table)
        if options.consumer is not None:
            table = Table(title=f"a consumer of {options.consumer:g} images/s")
            for name in ("workers", "images/s", "waits for data"):
                table.add_column(name, justify="right")
            for workers in options.workers:
                found = taken(loader_of(dataset, batch, workers), options.consumer)
                table.add_row(str(workers), f"{found['rate']:.0f}", f"{found['waiting']:.1%}")
            console.print(table)
    finally:
        shutil.rmtree(folder)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1024, help="JPEG files")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", default="1,2", help="numbers of workers")
    parser.add_argument("--size", default="384,640", help="H,W of the pictures")
    parser.add_argument("--batches", type=int, default=TRANSPORTED, help="that are transported")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--consumer", type=float, metavar="R", help="images a second")
    options = parser.parse_args()
    for name in ("workers", "size"):
        setattr(options, name, [int(number) for number in getattr(options, name).split(",")])
    return options


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, format="%(message)s")
    report(arguments())
