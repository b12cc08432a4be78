"""A picture of predictions: a grid of images, under each its questions and the answers given.

Imports Pillow, but neither torch nor MMF.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont, ImageOps

from clipvil_mmf.data.image_files import eight_bit, opened_image
from clipvil_mmf.data.questions import Question

_PICTURE = (192, 192)  # (width, height) of the box that an image is fitted into
_GAP = 12
_CELL_WIDTH = _PICTURE[0] + 2 * _GAP
_MARK = 18  # width of the column of marks
_LINE = 19  # height of a line of text

_PAPER, _CARD, _BORDER = "#f6f8fa", "#ffffff", "#d1d9e0"
_TEXT, _QUESTION = "#1f2328", "#59636e"
# Blue and orange: told apart by everybody, and the marks differ in shape as well.
_RIGHT, _WRONG = "#0b6bcb", "#c4460a"
_MARKS = {
    None: [],
    True: [[(0, 9), (4, 13), (11, 4)]],
    False: [[(1, 4), (10, 13)], [(10, 4), (1, 13)]],
}


@dataclass(frozen=True)
class Answered:
    """A question and what was answered."""

    question: str
    answer: str  # the predicted one
    expected: str | None = None  # the known one
    right: bool | None = None  # whether the prediction counts as right, where that is known
    confidence: float | None = None  # in [0, 1], where the model has said it


@dataclass(frozen=True)
class Cell:
    """An image file (or an image), or several side by side, and what to write under it."""

    image: str | Image.Image | tuple[str | Image.Image, ...]
    answered: tuple[Answered, ...]


def judge(question: Question, answer: str, confidence: float | None = None) -> Answered:
    """Compare an answer with the label; any of the label's answers is right."""
    if question.answers is None:
        return Answered(question.text, answer, confidence=confidence)
    scores = question.answers
    expected = max(scores, key=lambda known: scores[known], default=None)
    right = scores.get(answer, 0.0) > 0
    return Answered(question.text, answer, expected, right, confidence)


class PictureError(ValueError):
    """An image that cannot be drawn; the message names it."""


def draw(cells: Sequence[Cell], columns: int = 4) -> Image.Image:
    """Draw cells, at least one, row by row; raises ``PictureError``."""
    font = ImageFont.load_default(size=14)
    columns = min(columns, len(cells))
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    heights = [max(_cell_height(cell, font) for cell in row) for row in rows]
    width = columns * (_CELL_WIDTH + _GAP) + _GAP
    canvas = Image.new("RGB", (width, sum(heights) + _GAP * (len(rows) + 1)), _PAPER)
    top = _GAP
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            left = _GAP + column * (_CELL_WIDTH + _GAP)
            _draw_cell(canvas, cell, (left, top, left + _CELL_WIDTH, top + height), font)
        top += height + _GAP
    return canvas


def _draw_cell(
    canvas: Image.Image, cell: Cell, box: tuple[int, int, int, int], font: ImageFont.FreeTypeFont
) -> None:
    pen = ImageDraw.Draw(canvas)
    pen.rounded_rectangle(box, radius=6, fill=_CARD, outline=_BORDER)
    picture = _side_by_side(cell.image)
    x, y = box[0] + _GAP, box[1] + _GAP
    free = _PICTURE[0] - picture.width, _PICTURE[1] - picture.height
    canvas.paste(picture, (x + free[0] // 2, y + free[1] // 2))
    y += _PICTURE[1] + _GAP
    for answered in cell.answered:
        question, verdict = _lines(answered, font)
        colour = {None: _TEXT, True: _RIGHT, False: _WRONG}[answered.right]
        for line in question:
            pen.text((x, y), line, fill=_QUESTION, font=font)
            y += _LINE
        for stroke in _MARKS[answered.right]:  # the font has neither tick nor cross
            pen.line([(x + right, y + down) for right, down in stroke], fill=colour, width=2)
        for line in verdict:
            pen.text((x + _MARK, y), line, fill=colour, font=font)
            y += _LINE
        y += _GAP // 2


def _cell_height(cell: Cell, font: ImageFont.FreeTypeFont) -> int:
    lines = sum(len(part) for answered in cell.answered for part in _lines(answered, font))
    gaps = 2 * _GAP + (len(cell.answered) + 1) * (_GAP // 2)
    return _PICTURE[1] + lines * _LINE + gaps


def _lines(answered: Answered, font: ImageFont.FreeTypeFont) -> tuple[list[str], list[str]]:
    """The lines of a question, and those of the answer."""
    verdict = answered.answer
    if answered.confidence is not None:
        verdict = f"{verdict} {100 * answered.confidence:.0f}%"
    if answered.right is False and answered.expected is not None:
        verdict = f"{verdict} (expected: {answered.expected})"
    return _wrapped(answered.question, font), _wrapped(verdict, font, indent=_MARK)


def _wrapped(text: str, font: ImageFont.FreeTypeFont, indent: int = 0) -> list[str]:
    """Lines that fit the cell, broken between words; one line at least."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if lines[-1] and font.getlength(longer) > _PICTURE[0] - indent:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _side_by_side(image: str | Image.Image | tuple[str | Image.Image, ...]) -> Image.Image:
    """The picture of a cell; several images share its width."""
    if not isinstance(image, tuple):
        return _fitted(image, _PICTURE)
    width = (_PICTURE[0] - _GAP * (len(image) - 1)) // len(image)
    canvas = Image.new("RGB", _PICTURE, _CARD)
    for number, one in enumerate(image):
        picture = _fitted(one, (width, _PICTURE[1]))
        left = number * (width + _GAP) + (width - picture.width) // 2
        canvas.paste(picture, (left, (_PICTURE[1] - picture.height) // 2))
    return canvas


def _fitted(image: str | Image.Image, room: tuple[int, int]) -> Image.Image:
    """The image at the largest size that fits; a small one grows by a whole factor, unblurred."""
    image = _opened(image) if isinstance(image, str) else image
    factor = min(room[0] / image.width, room[1] / image.height)
    if factor >= 1:
        return ImageOps.scale(image, int(factor), Image.Resampling.NEAREST)
    size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
    return image.resize(size, Image.Resampling.LANCZOS)


def _opened(path: str) -> Image.Image:
    """The image of a file, in RGB."""
    try:
        with opened_image(path) as file:
            return eight_bit(file).convert("RGB")
    except FileNotFoundError as e:
        raise PictureError(f"Image {path} does not exist; expected an image file") from e
    # Damaged files raise whatever their half-read bytes lead to.
    except Exception as e:
        raise PictureError(f"Image {path} cannot be decoded: {e}") from e
