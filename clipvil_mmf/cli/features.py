"""``clipvil features``: the grid features of images, encoded once and kept in files."""

from __future__ import annotations

import re
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from clipvil_mmf.checkpoints.tuned import tensors_hash
from clipvil_mmf.cli.questions import NAMES, RootOption, image_folder, load_questions
from clipvil_mmf.config import ConfigError
from clipvil_mmf.data.grids import DTYPES, FIELDS
from clipvil_mmf.data.images import ImageParams
from clipvil_mmf.data.label_vocabulary import build_labels
from clipvil_mmf.data.table import QuestionTable
from clipvil_mmf.extraction import mmf_annotations
from clipvil_mmf.extraction.layouts import LAYOUTS, ExtractionError, Images
from clipvil_mmf.extraction.pictures import DEFAULT_SIZES, Preprocessing
from clipvil_mmf.extraction.run import Job, claim, describe, extract, probe, reserved
from clipvil_mmf.extraction.towers import PUBLISHED_TAG, RANDOM, read_tower
from clipvil_mmf.preprocessing import CLIP_MEAN, CLIP_STD
from clipvil_mmf.user_dir import IMPORTED
from mmf_bridge.common.device import check_device

_STOPPED = 130  # what a shell gives for Ctrl-C
_KEPT = "stopped. What is done is kept: the same command goes on from there"

LayoutName = Enum("LayoutName", {name: name for name in LAYOUTS}, type=str)  # type: ignore[misc]
PreprocessingName = Enum(  # type: ignore[misc]
    "PreprocessingName", {name: name for name in DEFAULT_SIZES}, type=str
)
Content = Enum("Content", {name: name for name in FIELDS}, type=str)  # type: ignore[misc]
Dtype = Enum("Dtype", {name: name for name in DTYPES}, type=str)  # type: ignore[misc]


@dataclass(frozen=True)
class _Part:
    """A split, and what of it is lacking."""

    job: Job
    table: QuestionTable
    units: list[list[int]]
    bytes: int


def command(
    dataset: Annotated[str, typer.Option(help=f"{', '.join(NAMES)}, or a question file (JSON).")],
    split: Annotated[str, typer.Option(help="A split, or several with commas between them.")],
    output: Annotated[Path, typer.Option(help="The folder for the features, a folder a split.")],
    root: RootOption = None,
    model: Annotated[
        str,
        typer.Option(
            help=f"A model of open_clip, as NAME, NAME:TAG (else {PUBLISHED_TAG}), NAME:FILE or "
            f"NAME:{RANDOM}; or a folder of `clipvil import` or of a run."
        ),
    ] = "RN50x4",
    layout: Annotated[
        LayoutName, typer.Option(help="compact for clipvil; the others for models of MMF's.")
    ] = LayoutName.compact,
    preprocessing: Annotated[
        PreprocessingName | None,
        typer.Option(help="By default the model's own, fit_pad for compact, or two_step."),
    ] = None,
    image_size: Annotated[
        str | None, typer.Option(help="HEIGHTxWIDTH in pixels, of the preprocessing.")
    ] = None,
    content: Annotated[
        Content,
        typer.Option(
            help="raw: the tower's features. projected: the model's visual tokens, for tuning "
            "beside a frozen backbone; compact alone."
        ),
    ] = Content.raw,
    dtype: Annotated[
        Dtype | None, typer.Option(help="By default fp16; fp32 for mmf_pythia.")
    ] = None,
    device: Annotated[
        str, typer.Option(help="cpu, cuda (of several processes each its own) ...")
    ] = "cpu",
    batch_size: Annotated[int, typer.Option(help="Images encoded at once.", min=1)] = 16,
    num_workers: Annotated[
        int, typer.Option(help="Processes that decode images, of each that encodes.", min=0)
    ] = 0,
    processes: Annotated[int, typer.Option(help="Processes that encode.", min=1)] = 1,
) -> None:
    """Encode the images of a data set once, and keep their grid features in files.

    A second start goes on where the first one stopped.
    """
    check_device(device, "--device")
    splits = list(dict.fromkeys(name.strip() for name in split.split(",") if name.strip()))
    if not splits:
        raise ExtractionError("--split: names none; expected names with commas between them")
    tables = {name: load_questions(dataset, name, root) for name in splits}
    if content is Content.projected and LAYOUTS[layout.value].is_mmfs:
        raise ConfigError(
            f"--content projected: expected --layout compact with it, got {layout.value}; MMF's "
            "models read the tower's features"
        )
    encoder, trained_with = read_tower(model, content.value)
    chosen = _preprocessing(preprocessing, image_size, trained_with, layout.value)
    grid = probe(encoder, chosen)
    weights = tensors_hash(encoder.state_dict())[:16]
    kind = LAYOUTS[layout.value]
    number = dtype.value if dtype else kind.default_dtype
    folder = image_folder(dataset, root)
    parts = []
    with ExitStack() as held:
        for name, table in tables.items():
            names = [table.image_path(row) for row in range(table.image_count)]
            names = list(dict.fromkeys(names))
            paths = [str(folder / path) for path in names]
            canvas = (chosen.height, chosen.width)
            images = Images(paths, names, grid, canvas, number)
            target = output / f"{name}{kind.ending}"
            job = Job(
                target,
                layout.value,
                images,
                model,
                chosen,
                device,
                batch_size,
                num_workers,
                (*IMPORTED,),
                content.value,
            )
            writer = kind(target, images)
            held.enter_context(reserved(writer.written))
            claim(job, describe(job, weights, dataset, name))
            units = writer.units()
            parts.append(_Part(job, table, units, writer.lacking_bytes(units)))
        _check_room(parts, output)
        try:
            for part in parts:
                extract(part.job, part.units, processes, encoder)
        except KeyboardInterrupt as error:
            typer.echo(_KEPT, err=True)
            raise typer.Exit(_STOPPED) from error
    if kind.is_mmfs:
        _write_annotations(tables, output / mmf_annotations.FOLDER)
    for part in parts:
        typer.echo(f"written: {part.job.folder}, {len(part.job.images.names):,} images")


def _preprocessing(
    name: PreprocessingName | None, size: str | None, trained: ImageParams | None, layout: str
) -> Preprocessing:
    """What the options say, else what the model was trained with, else what is published."""
    if name is None and trained is not None:
        own = trained
        height, width = own.image_size
        found = Preprocessing(
            *(own.image_transform, height, width, tuple(own.mean), tuple(own.std)),
            own.exif_rotation == "apply",
        )
    else:
        chosen = name.value if name else "fit_pad" if layout == "compact" else "two_step"
        is_published = chosen == "two_step"
        found = Preprocessing(chosen, *DEFAULT_SIZES[chosen], CLIP_MEAN, CLIP_STD, is_published)
    if size is None:
        return found
    given = re.fullmatch(r"(\d+)x(\d+)", size)
    if given is None or not all(map(int, given.groups())):
        raise ConfigError(f"--image-size: got {size!r}, expected as in 384x640.")
    return found._replace(height=int(given[1]), width=int(given[2]))


def _check_room(parts: list[_Part], output: Path) -> None:
    """Say what will be written, and refuse where the disk has no room for it."""
    free = shutil.disk_usage(output).free
    for part in parts:
        images = part.job.images
        typer.echo(
            f"{part.job.folder.name}: {len(images.names):,} images, "
            f"{'x'.join(map(str, images.grid))} {images.dtype}, {_size(images.bytes_per_image)} "
            f"each; {sum(map(len, part.units)):,} to write: {_size(part.bytes)}"
        )
    needed = sum(part.bytes for part in parts)
    typer.echo(f"{_size(needed)} in all, {_size(free)} free in {output}")
    if needed > free:
        raise ExtractionError(
            f"{output} has room for {_size(free)}, and {_size(needed)} are to be written. Make "
            "room, name another --output, or choose a smaller model, --dtype fp16 or a smaller "
            "--image-size"
        )


def _size(count: int) -> str:
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count / 1e3:.1f} kB"


def _write_annotations(tables: dict[str, QuestionTable], folder: Path) -> None:
    """Write what MMF's data set reads beside the features."""
    for name, table in tables.items():
        mmf_annotations.write_questions(table, folder / f"{name}.npy")
    labelled = [table for table in tables.values() if table.is_labelled]
    if labelled:
        labels = build_labels(labelled, 1)
        mmf_annotations.write_vocabularies(list(tables.values()), labels, folder)
    typer.echo(f"written: {folder}, the questions as MMF's data set vqa2 reads them")
