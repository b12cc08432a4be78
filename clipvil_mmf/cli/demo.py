"""``clipvil demo``: a page to ask a model on."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Annotated

import typer

from clipvil_mmf.addresses import listen
from clipvil_mmf.cli.models import BackboneOption, DeviceOption, DtypeOption, ModelArgument
from clipvil_mmf.cli.pages import HostOption, ThresholdOption
from clipvil_mmf.cli.questions import RootOption, SplitOption, image_folder, load_questions
from clipvil_mmf.extras import check_extra


def command(
    model: ModelArgument,
    examples: Annotated[
        str | None,
        typer.Option(help="Images and questions to choose from: a dataset, or a question file."),
    ] = None,
    split: SplitOption = "test",
    root: RootOption = None,
    host: HostOption = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Of the page.", min=1, max=65535)] = 7860,
    max_upload: Annotated[int, typer.Option(help="Largest photo, in MB.", min=1)] = 20,
    threshold: ThresholdOption = 0.5,
    device: DeviceOption = "cpu",
    dtype: DtypeOption = "fp32",
    backbone: BackboneOption = None,
) -> None:
    """Open a page in the browser: a photo, questions, answers, and where the model looked."""
    check_extra("clipvil demo", "demo", {"gradio": "gradio"})
    listen(host, port).close()  # gradio would show a traceback
    chosen = [] if examples is None else _examples(examples, split, root)
    # Imported here: what is wrong with the options is said at once.
    import clipvil_mmf
    from clipvil_mmf.demo import page
    from clipvil_mmf.demo.desk import Desk

    desk = Desk(clipvil_mmf.from_pretrained(model, device, dtype, backbone or None))
    app = page.build(desk, chosen, threshold)
    try:
        _, address, _ = app.launch(
            server_name=host,
            server_port=port,
            max_file_size=f"{max_upload}mb",
            quiet=True,
            prevent_thread_lock=True,
            **page.options(),
        )
        typer.echo(f"{address} (Ctrl-C ends it)")
        app.block_thread()
    finally:
        app.close(verbose=False)


def _examples(name: str, split: str, root: Path | None, count: int = 8) -> list[tuple[str, str]]:
    """Images of a data set, each with a question."""
    folder = image_folder(name, root)
    questions = list(load_questions(name, split, root))
    first = {q.image: q.text for q in random.Random(0).sample(questions, len(questions))}
    single = [(str(folder / i), text) for i, text in first.items() if isinstance(i, str)]
    return single[:count]
