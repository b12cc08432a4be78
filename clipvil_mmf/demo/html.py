"""Parts of the page as HTML: whatever visitors wrote is escaped."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

from PIL import Image

from clipvil_mmf.demo.desk import Asked, verdict

CSS = """
.clipvil-look { max-width: 640px; }
.clipvil-look img { width: 100%; display: block; border-radius: 6px; }
.clipvil-words { margin-top: 8px; line-height: 2.2; }
.clipvil-words button { font: inherit; padding: 2px 9px; margin: 0 4px 4px 0; cursor: pointer;
  border: 1px solid #8c959f; border-radius: 14px; background: transparent; color: inherit; }
.clipvil-words button[aria-pressed="true"] { background: #0b6bcb; border-color: #0b6bcb;
  color: #fff; }
.clipvil-words button:disabled { cursor: default; opacity: 0.6; }
.clipvil-verdict { font-size: 1.3em; font-weight: 600; margin: 0 0 8px; }
.clipvil-verdict.unsure { color: #c4460a; }
.clipvil-bar { display: grid; grid-template-columns: minmax(70px, 28%) 1fr 48px; gap: 8px;
  align-items: center; margin: 3px 0; }
.clipvil-bar i { display: block; height: 14px; border-radius: 3px; background: #0b6bcb; }
.clipvil-bar span { overflow-wrap: anywhere; }
.clipvil-history { list-style: none; padding: 0; margin: 0; }
.clipvil-history li { display: flex; gap: 8px; align-items: center; margin: 4px 0; }
.clipvil-history img { width: 40px; height: 40px; object-fit: cover; border-radius: 4px; }
"""

# Shows a button's map: while the pointer is on it, and for good when it is chosen.
_SHOW = "this.closest('.clipvil-look').querySelector('img').src=this.dataset.map"
_RESTORE = (
    "const l=this.closest('.clipvil-look');"
    "l.querySelector('img').src=l.querySelector('[aria-pressed=true]').dataset.map"
)
_CHOOSE = (
    "this.closest('.clipvil-look').querySelectorAll('button').forEach("
    "b=>b.setAttribute('aria-pressed',b===this))"
)


def look(asked: Asked) -> str:
    """The photo under the answer's map, and a button for each word that shows the word's."""
    plain = _data(asked.photo)
    buttons = [_button("the answer", _data(asked.map), True), _button("the photo", plain, False)]
    words = []
    for number, word in enumerate(asked.explanation.words):
        drawn = asked.word_maps[number] if asked.word_maps else None
        words.append(_button(word, None if drawn is None else _data(drawn), False))
    label = escape(f"Where the model looked for the answer {asked.answer}", quote=True)
    return (
        f'<div class="clipvil-look"><img alt="{label}" src="{_data(asked.map)}">'
        f'<div class="clipvil-words">{"".join(buttons)}<br>{"".join(words)}</div></div>'
    )


def photo(image: Image.Image) -> str:
    """The photo alone."""
    return f'<div class="clipvil-look"><img alt="The photo" src="{_data(image)}"></div>'


def answers(asked: Asked, threshold: float) -> str:
    """What the model answers, and its best answers as bars."""
    unsure = " unsure" if asked.confidence < threshold else ""
    rows = [f'<p class="clipvil-verdict{unsure}">{escape(verdict(asked, threshold))}</p>']
    for label, score in asked.explanation.answers:
        width = f"{100 * score:.1f}%"
        rows.append(
            f'<div class="clipvil-bar"><span>{escape(label)}</span>'
            f'<i style="width:{width}"></i><span>{100 * score:.0f}%</span></div>'
        )
    return "".join(rows)


def history(asked: Sequence[Asked]) -> str:
    """What was asked, the last one first."""
    rows = [
        f'<li><img alt="" src="{_data(_thumbnail(one.photo))}"><span>{escape(one.question)} '
        f"<b>{escape(one.answer)}</b> ({100 * one.confidence:.0f}%)</span></li>"
        for one in reversed(asked)
    ]
    return f'<ol class="clipvil-history">{"".join(rows)}</ol>'


def _button(text: str, drawn: str | None, is_chosen: bool) -> str:
    if drawn is None:
        return f"<button type='button' disabled>{escape(text)}</button>"
    return (
        f'<button type="button" aria-pressed="{str(is_chosen).lower()}" data-map="{drawn}" '
        f'onmouseover="{_SHOW}" onfocus="{_SHOW}" onmouseout="{_RESTORE}" '
        f'onclick="{_CHOOSE};{_SHOW}">{escape(text)}</button>'
    )


def _thumbnail(image: Image.Image) -> Image.Image:
    small = image.copy()
    small.thumbnail((80, 80))
    return small


def _data(image: Image.Image) -> str:
    """An image as an address that holds it."""
    file = io.BytesIO()
    image.save(file, "WEBP", quality=80)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
