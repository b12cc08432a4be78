"""The page, in gradio."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # it is read when gradio is imported

import gradio as gr

from clipvil_mmf.data.images import BadImageError
from clipvil_mmf.demo import html
from clipvil_mmf.demo.desk import Asked, Desk, DeskError, shown
from clipvil_mmf.explaining import ExplainError, Seen

_HISTORY = 50  # questions of a visitor that are kept
# Fonts of the visitor's machine: others would be fetched.
_FONTS = ["system-ui", "sans-serif"]


def options() -> dict[str, Any]:
    """What ``launch`` takes for every page: its looks, and nothing from the network."""
    theme = gr.themes.Default(font=_FONTS, font_mono=["ui-monospace", "monospace"])
    return {"theme": theme, "css": html.CSS, "share": False, "ssr_mode": False}


def build(
    desk: Desk, examples: Sequence[tuple[str, str]] = (), threshold: float = 0.5
) -> gr.Blocks:
    """Build the page.

    Args:
        desk: answers.
        examples: paths of images and questions about them, to choose from.
        threshold: of confidence, at first.
    """

    def opened(path: str | None) -> tuple[Seen | None, str, str, None]:
        seen = None if path is None else _said(desk.look, path)
        drawn = "" if seen is None else html.photo(shown(seen.photos[0].image))
        return seen, drawn, "", None

    def ask(
        path: str | None,
        seen: Seen | None,
        question: str,
        method: str,
        threshold: float,
        history: list[Asked],
    ) -> tuple[Seen | None, Asked, list[Asked], str, str, str]:
        # A question may come before its photo was looked at, as those of the examples do.
        if seen is None and path is not None:
            seen = _said(desk.look, path)
        asked = _said(desk.ask, seen, question, method)
        history = [*history, asked][-_HISTORY:]
        shown_answers = html.answers(asked, threshold)
        return seen, asked, history, html.look(asked), shown_answers, html.history(history)

    def other_method(
        seen: Seen | None, asked: Asked | None, method: str
    ) -> tuple[Asked | None, Any]:
        if seen is None or asked is None:
            return asked, gr.skip()
        found = _said(desk.ask, seen, asked.question, method)
        return found, html.look(found)

    def other_threshold(asked: Asked | None, threshold: float) -> Any:
        return gr.skip() if asked is None else html.answers(asked, threshold)

    # What visitors send is deleted after an hour, and when the page ends.
    with gr.Blocks(title="CLIP-ViL", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        seen, asked, history = gr.State(), gr.State(), gr.State([])
        gr.Markdown(f"## Ask about a photo\n{Path(desk.answerer.name).name}")
        with gr.Row():
            with gr.Column():
                photo = gr.Image(
                    type="filepath",
                    sources=["upload", "webcam", "clipboard"],
                    label="Photo",
                    height=300,
                    elem_id="photo",
                )
                question = gr.Textbox(label="Question", max_length=500, elem_id="question")
                button = gr.Button("Ask", variant="primary", elem_id="ask")
                given = gr.Slider(0, 1, threshold, step=0.01, label="Answer from a confidence of")
                method = gr.Radio(
                    desk.methods, value=desk.methods[0], label="Map", elem_id="method"
                )
                # gradio would open the file itself, and not say what is wrong with it.
                by_gradio = photo.preprocess
                photo.preprocess = lambda sent: getattr(sent, "path", None) or by_gradio(sent)
            with gr.Column():
                answers = gr.HTML(label="Answers", elem_id="answers")
                looked = gr.HTML(label="Where it looked", elem_id="look")
                with gr.Accordion("Asked before"):
                    before = gr.HTML(elem_id="history")
        if examples:
            gr.Examples([list(pair) for pair in examples], [photo, question], label="Examples")
        photo.change(opened, photo, [seen, looked, answers, asked])
        inputs = [photo, seen, question, method, given, history]
        outputs = [seen, asked, history, looked, answers, before]
        for event in (button.click, question.submit):
            event(ask, inputs, outputs)
        method.change(other_method, [seen, asked, method], [asked, looked])
        given.change(other_threshold, [asked, given], answers, show_progress="hidden")
    return page


def _said(function: Callable[..., Any], *values: Any) -> Any:
    """What a function gives; what a visitor did wrong is shown on the page."""
    try:
        return function(*values)
    except (BadImageError, DeskError, ExplainError) as error:
        raise gr.Error(_plain(str(error)), print_exception=False) from error


def _plain(message: str) -> str:
    """The message without the folder in which gradio keeps what is sent."""
    return re.sub(r"/\S*/", "", message)
