"""Encodes the images of a split, in one process or several, and goes on where it stopped."""

from __future__ import annotations

import contextlib
import json
import queue
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import multiprocessing, nn
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException
from torch.utils.data import DataLoader

from clipvil_mmf.atomic import replacing
from clipvil_mmf.data.grids import DTYPES, RAW, ImageGrid
from clipvil_mmf.extraction.layouts import LAYOUTS, ExtractionError, Images
from clipvil_mmf.extraction.pictures import Picture, PictureFiles, Preprocessing, shown_cells
from clipvil_mmf.extraction.towers import read_tower
from clipvil_mmf.preprocessing import normalize, pixel_statistics
from clipvil_mmf.user_dir import import_user_dir
from mmf_bridge.common.locking import holder_of, holding
from mmf_bridge.common.progress import Progress


@dataclass(frozen=True)
class Job:
    """What is to be done; plain values, as it travels to other processes."""

    folder: Path  # of the split's features
    layout: str  # of LAYOUTS
    images: Images
    model: str  # see `read_tower`
    preprocessing: Preprocessing
    device: str = "cpu"
    batch_size: int = 16  # images that are encoded at once
    num_workers: int = 0  # processes that decode, of each process that encodes
    user_dirs: tuple[str, ...] = ()  # whose components the model may have
    content: str = RAW  # or projected, see `read_tower`


def claim(job: Job, described: dict[str, Any]) -> None:
    """Say in ``features.json`` what a folder's features are made with, or check that it is so.

    Raises:
        ExtractionError: they were made with something else.
    """
    file = LAYOUTS[job.layout](job.folder, job.images).description
    if not file.is_file():
        with replacing(file) as partial:
            partial.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        return
    try:
        there = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ExtractionError(f"{file} cannot be read: {error}. Name another --output") from error
    plain = json.loads(json.dumps(described))
    # Where the same weights lie does not matter.
    differing = [key for key in plain if key != "model" and there.get(key) != plain[key]]
    if differing:
        key = differing[0]
        raise ExtractionError(
            f"{file}: the features there were made with {key} {there.get(key)}, not {plain[key]}. "
            "Name another --output, or remove that folder"
        )


@contextmanager
def reserved(folder: Path) -> Iterator[None]:
    """Hold a folder that features are written into; nobody else writes into it meanwhile.

    Raises:
        ExtractionError: somebody else does, or it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        text = f"{folder} cannot be made: {error.strerror}. Name another --output"
        raise ExtractionError(text) from error
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(holding(folder, waits=False))
        except BlockingIOError as error:
            raise ExtractionError(
                f"{folder} is taken: another `clipvil features` writes there (process "
                f"{holder_of(folder)}). Wait for its end, or name another --output"
            ) from error
        yield


def probe(encoder: nn.Module, preprocessing: Preprocessing) -> tuple[int, int, int]:
    """h, w and C of the grid of a picture."""
    blank = torch.zeros(1, 3, preprocessing.height, preprocessing.width)
    with torch.inference_mode():
        channels, height, width = encoder(blank)[0].shape
    return height, width, channels


def extract(
    job: Job, units: Sequence[Sequence[int]], processes: int, encoder: nn.Module | None = None
) -> None:
    """Write the features that are lacking.

    Args:
        job: what is to be done.
        units: of the layout, those to write.
        processes: how many encode.
        encoder: for one process; others read it themselves.

    Raises:
        ExtractionError, BadImageError, OSError: an image or a file; what is written stays.
    """
    count = min(processes, len(units))
    total = sum(map(len, units))
    with Progress(f"encoding {job.folder.name}", total, "images") as bar:
        if count > 1:
            _in_processes(job, units, count, bar.update)
        elif units:
            _encode(job, units, bar.update, job.device, encoder)
    LAYOUTS[job.layout](job.folder, job.images).finish()


def _in_processes(
    job: Job, units: Sequence[Sequence[int]], count: int, tell: Callable[[int], Any]
) -> None:
    told = multiprocessing.get_context("spawn").Queue()
    # Its children end with this process, however it ends.
    started = multiprocessing.spawn(
        _work, (job, [units[rank::count] for rank in range(count)], told), count, join=False
    )
    try:
        ended = False
        while not ended:
            ended = started.join(timeout=0.2)
            with contextlib.suppress(queue.Empty):
                while True:
                    news = told.get_nowait() if not ended else told.get(timeout=0.2)
                    if isinstance(news, str):
                        raise ExtractionError(news)
                    tell(news)
    except (ProcessExitedException, ProcessRaisedException) as error:
        raise ExtractionError(
            f"One of the processes ended: {error}. What is written stays; the same command goes on "
            "from there"
        ) from error
    finally:
        for process in started.processes:
            process.terminate()


def _work(rank: int, job: Job, shares: list[list[list[int]]], told: Any) -> None:
    """One of several processes."""
    torch.set_num_threads(max(1, torch.get_num_threads() // len(shares)))
    for user_dir in job.user_dirs:
        import_user_dir(user_dir)
    device = job.device
    if device == "cuda":
        device = f"cuda:{rank % torch.cuda.device_count()}"
    try:
        _encode(job, shares[rank], told.put, device)
    except (OSError, ValueError) as error:
        told.put(str(error))


def _encode(
    job: Job,
    units: Sequence[Sequence[int]],
    tell: Callable[[int], Any],
    device: str,
    encoder: nn.Module | None = None,
) -> None:
    """Encode the images of units and write them, one unit after the other."""
    encoder = (encoder or read_tower(job.model, job.content)[0]).to(device)
    layout = LAYOUTS[job.layout](job.folder, job.images)
    statistics = pixel_statistics(job.preprocessing.mean, job.preprocessing.std).to(device)
    rows = [row for unit in units for row in unit]
    pictures = iter(
        DataLoader(
            PictureFiles(job.images.paths, rows, job.preprocessing),
            batch_size=None,
            num_workers=job.num_workers,
        )
    )
    for unit in units:
        with layout.unit(unit) as add:
            for batch in _batches(islice(pictures, len(unit)), job.batch_size):
                _write(_grids(encoder, batch, statistics), batch, job, add)
                tell(len(batch))


def _batches(pictures: Iterator[Picture], size: int) -> Iterator[list[Picture]]:
    """Batches of pictures of one shape each."""
    waiting: dict[Any, list[Picture]] = {}
    for picture in pictures:
        if picture.pixels is None:
            raise ExtractionError(picture.error)
        batch = waiting.setdefault(picture.pixels.shape, [])
        batch.append(picture)
        if len(batch) == size:
            yield waiting.pop(picture.pixels.shape)
    yield from waiting.values()


@torch.inference_mode()
def _grids(encoder: nn.Module, batch: Sequence[Picture], statistics: torch.Tensor) -> np.ndarray:
    """(B, h, w, C) float32: the grids of pictures of one shape."""
    pixels = torch.stack([picture.pixels for picture in batch]).to(statistics.device)
    features = encoder(normalize(pixels, statistics)).float()
    return features.permute(0, 2, 3, 1).cpu().numpy()


def _write(grids: np.ndarray, batch: Sequence[Picture], job: Job, add: Any) -> None:
    most = np.finfo(DTYPES[job.images.dtype]).max
    for picture, features in zip(batch, grids, strict=True):
        largest = float(np.abs(features).max())
        if not largest <= most:  # a NaN, too
            raise ExtractionError(
                f"The features of {job.images.paths[picture.row]} reach {largest:g}, which "
                f"{job.images.dtype} cannot hold; use --dtype fp32, or correct the weights"
            )
        mask = None
        if picture.place is not None:
            mask = shown_cells(picture.place, picture.pixels.shape[1:], features.shape[:2])
        add(picture.row, ImageGrid(features, mask))


def describe(job: Job, weights: str, dataset: str, split: str) -> dict[str, Any]:
    """What ``features.json`` says."""
    return {
        "format": 1,
        "layout": job.layout,
        "content": job.content,
        "dtype": job.images.dtype,
        "dataset": dataset,
        "split": split,
        "images": len(job.images.names),
        "model": job.model,
        "weights": weights,
        "preprocessing": job.preprocessing._asdict(),
        "grid": job.images.grid,
    }
