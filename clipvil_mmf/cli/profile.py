"""``clipvil profile``: what tuning methods cost, in one table, as CSV and as a picture."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import re
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any

import typer
from omegaconf import OmegaConf
from rich.console import Console

from clipvil_mmf.config import ConfigError, check_choice, from_config
from clipvil_mmf.extras import check_extra
from clipvil_mmf.layers.dtypes import PRECISIONS, precision_name
from clipvil_mmf.profiling.batch import BatchSizes
from clipvil_mmf.profiling.figure import draw
from clipvil_mmf.profiling.processes import Request, Row, measure_apart
from clipvil_mmf.profiling.table import as_table, footnotes, write_csv
from clipvil_mmf.tasks import saved_task
from clipvil_mmf.tuning import METHODS
from clipvil_mmf.user_dir import IMPORTED
from mmf_bridge.common.device import check_device
from mmf_bridge.common.precision import Precision as RunPrecision

PUBLISHED_ANSWERS, PUBLISHED_WORDS = 3129, 30522
_SECTIONS = ("image_encoder", "visual_embedding", "fusion", "classifier")


def command(
    config: Annotated[str, typer.Option(help="The yaml file that mmf_run takes.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Options of mmf_run, such as model_config.clipvil.tuning.method=lora."),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(help="all, or names with commas between them; else the yaml file's own."),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Images, one question each.", min=1)] = 2,
    image_size: Annotated[
        str | None, typer.Option(help="HEIGHTxWIDTH in pixels; else that of the yaml's dataset.")
    ] = None,
    tokens: Annotated[
        int | None, typer.Option(help="Word pieces of a question; else the dataset's.", min=3)
    ] = None,
    answers: Annotated[
        int, typer.Option(help="Size of the answer vocabulary.", min=2)
    ] = PUBLISHED_ANSWERS,
    words: Annotated[
        int, typer.Option(help="Size of the text vocabulary, where the yaml has none.", min=1)
    ] = PUBLISHED_WORDS,
    precision: Annotated[
        str | None, typer.Option(help="fp32 or bf16 (autocast); else training.precision.")
    ] = None,
    repeats: Annotated[
        int, typer.Option(help="Of each measurement; medians are shown.", min=1)
    ] = 3,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1 ...; else training.device.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="A folder for profile.csv and profile.png.")
    ] = None,
) -> None:
    """Measure what tuning methods cost; no data is needed, the batch is synthetic."""
    if output is not None:
        check_extra("--output", "plot", {"matplotlib": "matplotlib"})
        _check_folder(output)
    settings = read_settings(config, overrides or [])
    device = check_device(device, "--device") if device else settings.training.device
    request = replace(
        request_of(settings, answers, words),
        sizes=_sizes(settings, batch_size, image_size, tokens),
        precision=_precision(settings.training, device, precision),
        device=device,
        repeats=repeats,
        user_dirs=[*IMPORTED, *filter(None, [settings.env.user_dir])],
    )
    rows = _measure(requests_of(request, methods))
    sizes = request.sizes
    title = (
        f"{Path(config).name}: batch {sizes.images}, {sizes.height}x{sizes.width}, "
        f"{sizes.tokens} word pieces, {request.precision}, {request.device}"
    )
    console = Console(highlight=False, soft_wrap=True)
    console.print(as_table(rows, title))
    for note in footnotes(rows):
        console.print(note, markup=False)
    measured = any(row.figures is not None for row in rows)
    if output is not None:
        write_csv(rows, request, output / "profile.csv")
        typer.echo(f"written: {output / 'profile.csv'}")
        if measured:
            draw(rows, title, output / "profile.png")
            typer.echo(f"written: {output / 'profile.png'}")
    if not measured or any(row.figures is None and row.fits for row in rows):
        raise typer.Exit(1)


def read_settings(config: str, overrides: list[str]) -> Any:
    """The configuration that `mmf_run config=...` would run with, by MMF's own code."""
    import mmf_cli.run

    from mmf_bridge.common.launch import read_configuration

    # MMF says which option replaces what: rc7 prints it, main logs it to the standard output.
    disabled = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            configuration = read_configuration(mmf_cli.run, [f"config={config}", *overrides])
            return configuration.get_config()
    finally:
        logging.disable(disabled)


def request_of(settings: Any, answers: int, words: int) -> Request:
    """What a run with MMF's configuration trains, with `words` where that has no `vocab_size`."""
    if settings.model != "clipvil":
        raise ConfigError(f"model: got {settings.model}, expected clipvil; it alone is measured.")
    from clipvil_mmf.model import ClipVilConfig
    from clipvil_mmf.vision import saved_section

    plain = OmegaConf.to_container(settings.model_config.clipvil, resolve=True)
    model = from_config(ClipVilConfig, plain, "model_config.clipvil")
    sections = {name: copy.deepcopy(getattr(model, name)) for name in _SECTIONS}
    for name in ("fusion", "image_encoder"):
        sections[name]["params"] = sections[name].get("params") or {}
    if sections["fusion"]["params"].get("vocab_size") is None:
        sections["fusion"]["params"]["vocab_size"] = words
    # Weights cost the same whatever their values.
    sections["image_encoder"] = saved_section(sections["image_encoder"])
    sections["tuning"] = model.tuning or {"method": "full"}
    training = settings.training
    return Request(
        sections=sections,
        answers=answers,
        optimizer=OmegaConf.to_container(settings.optimizer, resolve=True),
        losses=model.losses,
        task=saved_task(_dataset_section(settings)),
        max_norm=training.max_grad_l2_norm if training.clip_gradients else None,
    )


def _dataset_section(settings: Any) -> Any:
    """The section of the run's first dataset."""
    name = str(settings.datasets or settings.dataset).split(",")[0]
    return OmegaConf.select(settings, f"dataset_config.{name}") or OmegaConf.create()


def requests_of(request: Request, methods: str | None) -> dict[str, Request]:
    """The request for each of `--methods`: its own `params` where the configuration has them."""
    own = request.sections["tuning"]
    chosen = ",".join(METHODS) if methods == "all" else methods or own["method"]
    requests = {}
    for name in map(str.strip, chosen.split(",")):
        check_choice("--methods", name, METHODS)
        tuning = own if name == own["method"] else {"method": name}
        requests[name] = replace(request, sections={**request.sections, "tuning": tuning})
    return requests


def _measure(requests: dict[str, Request]) -> list[Row]:
    rows = []
    with Console(stderr=True).status("") as status:
        for number, (name, request) in enumerate(requests.items(), start=1):
            status.update(f"{name}, {number} of {len(requests)}")
            rows.append(measure_apart(name, request))
    return rows


def _check_folder(folder: Path) -> None:
    """Make a folder for results, before the long work whose results they are."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=folder).close()
    except OSError as e:
        raise OSError(
            f"Cannot write into {folder}: {e.strerror or e}. Name another folder: --output"
        ) from e


def _sizes(settings: Any, images: int, image_size: str | None, tokens: int | None) -> BatchSizes:
    """The batch: what the options say, else what the dataset's section says."""
    section = _dataset_section(settings)
    height, width = OmegaConf.select(section, "image_size") or (None, None)
    if image_size is not None:
        given = re.fullmatch(r"(\d+)x(\d+)", image_size)
        if given is None:
            raise ConfigError(f"--image-size: got {image_size!r}, expected as in 384x640.")
        height, width = map(int, given.groups())
    length = OmegaConf.select(section, "processors.text_processor.params.max_seq_length")
    regions = OmegaConf.select(section, "features.max_regions")
    found = {"height": height, "width": width, "tokens": tokens or length, "regions": regions}
    return BatchSizes(images, **{key: value for key, value in found.items() if value is not None})


def _precision(training: Any, device: str, given: str | None) -> str:
    """What is given, else what a run computes in on a device, by MMF's section `training`."""
    if given is not None:
        return precision_name("--precision", given)
    name = RunPrecision(training, device).name
    if name not in PRECISIONS:
        raise ConfigError(
            f"training.precision: {name} is not measured; choose by --precision fp32 or bf16."
        )
    return name
