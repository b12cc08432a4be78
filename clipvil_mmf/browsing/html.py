"""The page as HTML, without a script; whatever comes from files or visitors is escaped."""

from __future__ import annotations

import os
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from html import escape
from itertools import groupby

import numpy as np

from clipvil_mmf.browsing.filters import COMPARISONS, DIFFER, SORTS, UNANSWERED, VERDICTS, Filters
from clipvil_mmf.browsing.questions import Questions
from clipvil_mmf.browsing.runs import Run
from clipvil_mmf.browsing.style import CSS
from clipvil_mmf.browsing.view import Browser
from clipvil_mmf.data.image_files import image_size

PER_PAGE = 24
_SMALL = 160  # pixels of the longer side of an image that is shown enlarged, unblurred
_WIDE = 320  # pixels of the longer side of a shown image
_MARKS = {"right": "✓", "wrong": "✗", UNANSWERED: "–", "": "•"}


def page(browser: Browser, filters: Filters, commands: Sequence[str]) -> str:
    """The whole page.

    Args:
        browser: the questions and the runs.
        filters: which of them.
        commands: what can be done with the exported questions.
    """
    rows = browser.rows(filters.key)
    last = max(1, -(-len(rows) // PER_PAGE))
    number = min(filters.page, last)
    shown = rows[(number - 1) * PER_PAGE : number * PER_PAGE]
    questions = browser.questions
    total = f"{len(questions):,} questions on {questions.table.image_count:,} images"
    pages = _pages(filters, number, last)
    active = len(replace(filters, page=1).query.split("&")) if filters.key != Filters() else 0
    parts = [
        _head(questions.name),
        f"<body><header><h1>{_text(questions.name)}</h1><p>{total}</p></header>",
        '<input type="checkbox" id="toggle"><label for="toggle">Filters and order'
        f"{f' ({active})' if active else ''}</label>",
        _form(browser, filters),
        f'<main><p class="count" id="count"><b>{len(rows):,}</b> '
        f"question{'' if len(rows) == 1 else 's'}</p>",
        _summaries(browser, rows),
        *(f'<p class="note">{_text(note)}</p>' for note in notes(browser, filters, rows)),
        _export(filters, len(rows), commands) if len(rows) else "",
        pages,
        '<div class="cards">',
        *_cards(browser, shown.tolist()),
        f"</div>{pages}</main></body></html>",
    ]
    return "".join(parts)


def error_page(name: str, message: str) -> str:
    """What the page says where there is nothing else to show."""
    return (
        f"{_head(name)}<body><header><h1>{_text(name)}</h1></header>"
        f'<main><p class="note" id="error">{_text(message)}</p>'
        '<p><a href="/">All questions</a></p></main></body></html>'
    )


def notes(browser: Browser, filters: Filters, rows: np.ndarray) -> list[str]:
    """What has to be said about the questions that are shown, and their order."""
    found = []
    if browser.grader is None:
        found.append("The right answers of these questions are not known.")
    if not len(rows):
        found.append("No question fits.")
    run = browser.run_of(filters)
    if run is None:
        return found
    asked = filters.least is not None or filters.most is not None
    if (asked or filters.sort.endswith("confidence")) and not run.is_sure:
        found.append(f"{run.name} has no confidences; prediction.confidence=true writes them.")
    if filters.sort.endswith("loss"):
        losses, bound = run.losses[rows], run.is_bound[rows]
        unknown, bounds = int(np.isnan(losses).sum()), int(bound.sum())
        more = "prediction.confidence=true prediction.top_k=5 writes what is needed."
        if browser.grader is None:
            found.append("Without the right answers there is no loss: the order is the file's.")
        elif not run.has_losses:
            found.append(
                f"{run.name} says no confidence of the right answers, so the loss is not known and "
                f"the order is the file's; {more}"
            )
        elif unknown:
            found.append(
                f"The loss of {unknown:,} of these questions is not known, as {run.name} says no "
                f"confidence of their right answers; they come last. {more}"
            )
        if bounds:
            found.append(
                f"≥ before a loss ({bounds:,} questions): the right answer is none of those that "
                f"{run.name} lists, so it is less likely than the last of them."
            )
    return found


def _form(browser: Browser, filters: Filters) -> str:
    questions, runs = browser.questions, browser.run_names
    known = browser.grader is not None
    parts = ['<form method="get" action="/">']
    parts.append(_field("Text of the question", "text", filters.text, "search"))
    if known:
        parts.append(_field("Right answer", "answer", filters.answer, "search", "answers"))
    chosen = dict(filters.kinds)
    for name, kind in questions.kinds.items():
        order = np.argsort([-count for count in kind.counts], kind="stable")
        options = {"": "all"} | {
            kind.names[place]: f"{kind.names[place]} ({kind.counts[place]:,})"
            for place in order.tolist()
            if kind.names[place]
        }
        label = name.replace("_", " ").capitalize()
        parts.append(_select(label, f"kind.{name}", options, chosen.get(name, "")))
    if runs:
        parts.append("<fieldset><legend>Run</legend>")
        if len(runs) > 1:
            options = {"": runs[0]} | {name: name for name in runs[1:]}
            parts.append(_select("Which", "run", options, filters.run))
        verdicts = VERDICTS if known else (UNANSWERED,)
        options = {"": "right or wrong" if known else "all"} | {name: name for name in verdicts}
        parts.append(_select("Its answer is", "verdict", options, filters.verdict))
        parts.append(_field("It says", "said", filters.said, "search", "answers"))
        parts.append(
            '<div class="pair">'
            + _field("Confidence from", "least", filters.least, "number")
            + _field("to, in %", "most", filters.most, "number")
            + "</div>"
        )
        if len(runs) > 1:
            beside = "the other run" if len(runs) > 2 else filters.other_of(runs)
            options = {"": "no matter"} | COMPARISONS
            if not known:
                options = {name: options[name] for name in ("", DIFFER)}
            parts.append(_select(f"Beside {beside}", "compare", options, filters.compare))
            if len(runs) > 2:
                options = {name: name for name in runs}
                other = filters.other_of(runs)
                parts.append(_select("The other run", "other", options, other))
        parts.append("</fieldset>")
    parts.append(
        '<div class="pair">'
        + _field("Id", "id", filters.id, "search")
        + _field("Image", "image", filters.image, "search")
        + "</div>"
    )
    sorts = {name: label for name, label in SORTS.items() if runs or name in ("", "id")}
    if not known:
        sorts = {name: label for name, label in sorts.items() if not name.endswith("loss")}
    parts.append(_select("Order by", "sort", sorts, filters.sort))
    parts.append('<p class="buttons"><button>Show</button> <a href="/">All questions</a></p>')
    parts.append(_suggestions(browser))
    return "".join(parts) + "</form>"


def _field(label: str, name: str, value: object, kind: str, proposals: str = "") -> str:
    given = "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    more = f' list="{proposals}"' if proposals else ""
    if kind == "number":
        more += ' min="0" max="100" step="any"'
    return (
        f'<label>{_text(label)}<input type="{kind}" name="{name}" value="{_text(given)}"'
        f' autocomplete="off"{more}></label>'
    )


def _select(label: str, name: str, options: dict[str, str], chosen: str) -> str:
    listed = "".join(
        f'<option value="{_text(value)}"{" selected" if value == chosen else ""}>'
        f"{_text(shown)}</option>"
        for value, shown in options.items()
    )
    return f'<label>{_text(label)}<select name="{_text(name)}">{listed}</select></label>'


def _suggestions(browser: Browser) -> str:
    options = "".join(f'<option value="{_text(one)}"></option>' for one in browser.frequent_answers)
    return f'<datalist id="answers">{options}</datalist>'


def _summaries(browser: Browser, rows: np.ndarray) -> str:
    """How each run fares on these questions."""
    if not browser.runs or not len(rows):
        return ""
    lines = []
    summaries = [(run, browser.summary(run, rows)) for run in browser.runs.values()]
    is_partial = any(found.unanswered for _, found in summaries)
    for run, found in summaries:
        accuracy = "–" if found.accuracy is None else f"{found.accuracy:.2f} %"
        sure = "–" if found.confidence is None else f"{found.confidence:.1f} %"
        judged = [f"{n:,}" if run.scores is not None else "–" for n in (found.right, found.wrong)]
        unanswered = [f"{found.unanswered:,}"] if is_partial else []
        cells = (accuracy, *judged, *unanswered, sure)
        numbers = "".join(f"<td>{cell}</td>" for cell in cells)
        lines.append(f'<tr title="{_text(str(run.file))}"><th>{_text(run.name)}</th>{numbers}</tr>')
    heads = ["run", "accuracy", "right", "wrong", *([UNANSWERED] * is_partial), "confidence"]
    head = "".join(f"<th>{name}</th>" for name in heads)
    return (
        f'<div class="wide"><table id="runs"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _export(filters: Filters, count: int, commands: Sequence[str]) -> str:
    query = _text(replace(filters, page=1).query)
    lines = _text("\n".join(commands))
    return (
        f'<details id="export"><summary>Export {"it" if count == 1 else "them"}</summary>'
        f'<p><a href="/ids.json?{query}" download="ids.json">ids.json</a>: their ids. '
        f'<a href="/questions.json?{query}" download="questions.json">questions.json</a>: '
        f"a question file that commands and runs read.</p><pre>{lines}</pre></details>"
    )


def _pages(filters: Filters, number: int, last: int) -> str:
    if last == 1:
        return ""

    def link(page: int, text: str, is_there: bool) -> str:
        if not is_there:
            return f"<span>{text}</span>"
        query = replace(filters, page=page).query
        return f'<a href="/{"?" + _text(query) if query else ""}">{text}</a>'

    return (
        f'<nav class="pages">{link(1, "« first", number > 1)}'
        f"{link(number - 1, '‹ previous', number > 1)}"
        f"<b>{number:,} of {last:,}</b>"
        f"{link(number + 1, 'next ›', number < last)}{link(last, 'last »', number < last)}</nav>"
    )


def _cards(browser: Browser, rows: Sequence[int]) -> Iterable[str]:
    """A card for each image, with the questions about it that follow one another."""
    questions = browser.questions
    for images, group in groupby(rows, lambda row: questions.image_rows(row)):
        pictures = "".join(_picture(questions, image) for image in images)
        query = Filters(image=questions.image_name(images[0])).query
        yield (
            f'<article><div class="pictures">{pictures}'
            f'<a class="all" href="/?{_text(query)}">all questions about it</a>'
            '</div><div class="asked">'
        )
        yield from (_question(browser, row) for row in group)
        yield "</div></article>"


def _picture(questions: Questions, image: int) -> str:
    path = questions.image_name(image)
    file = questions.image_file(image)
    if file is None:
        why = f"{path} is outside of {questions.folder}, the folder of the images (--root)"
        return f'<p class="missing">{_text(why)}</p>'
    width, height = image_size(file, upright=True)
    if not width or not height:
        why = "cannot be read" if os.path.exists(file) else "is missing"
        return f'<p class="missing">{_text(str(file))} {why}</p>'
    is_small = max(width, height) <= _SMALL
    factor = _WIDE / max(width, height)
    factor = max(1, int(factor * 0.7)) if is_small else min(1.0, factor)
    size = f'width="{max(1, round(width * factor))}" height="{max(1, round(height * factor))}"'
    kind = ' class="small"' if is_small else ""
    return (
        f'<a href="/image/{image}"><img src="/image/{image}" {size}{kind} loading="lazy" '
        f'alt="{_text(path)}" title="{_text(path)}"></a>'
    )


def _question(browser: Browser, row: int) -> str:
    questions = browser.questions
    found = questions.question(row)
    link = Filters(id=str(found.question_id)).query
    kinds = "".join(f" · {_text(name)}" for name in questions.kinds_of(row).values())
    parts = [
        f"<section><h2>{_text(found.text)}</h2>",
        f'<p class="about"><a href="/?{_text(link)}">{_text(str(found.question_id))}</a>'
        f"{kinds}</p>",
        _right_answers(browser, row),
    ]
    if browser.runs:
        lines = "".join(_answer(browser, run, row) for run in browser.runs.values())
        parts.append(f'<ul class="runs">{lines}</ul>')
    return "".join(parts) + "</section>"


def _right_answers(browser: Browser, row: int) -> str:
    questions = browser.questions
    given = questions.annotators(row)
    if given:
        counts = Counter(given).most_common()
        listed = ", ".join(f"{_text(answer)} ×{count}" for answer, count in counts)
        return f'<p class="known">Annotators: {listed}</p>'
    answers = questions.question(row).answers
    if not answers:
        return ""
    listed = ", ".join(
        _text(answer) if score >= 1 else f"{_text(answer)} ({score:g})"
        for answer, score in answers.items()
    )
    return f'<p class="known">Right: {listed}</p>'


def _answer(browser: Browser, run: Run, row: int) -> str:
    """What a run answers to a question."""
    verdict = browser.verdict(run, row)
    name = f'<span class="name">{_text(run.name)}</span>' if len(browser.runs) > 1 else ""
    said = run.answer(row)
    if said is None:
        return f'<li class="unanswered"><i>–</i><div>{name}<span>no answer</span></div></li>'
    parts = [f"{name}<b>{_text(said)}</b>"]
    if verdict == "right" and run.scores[row] < 1:
        parts.append(f"<span>score {run.scores[row]:.2g}</span>")
    confidence = run.confidences[row]
    if not np.isnan(confidence):
        parts.append(f"<span>{_percent(confidence)}</span>")
    if not np.isnan(run.losses[row]):
        bound = "≥ " if run.is_bound[row] else ""
        parts.append(f"<span>loss {bound}{run.losses[row]:.3g}</span>")
    top = run.top(row)
    if len(top) > 1:
        bars = "".join(_bar(answer, share) for answer, share in top)
        parts.append(f"<details><summary>{len(top)} best</summary>{bars}</details>")
    mark = f'<i title="{verdict}">{_MARKS[verdict]}</i>'
    return f'<li class="{verdict}">{mark}<div>{"".join(parts)}</div></li>'


def _bar(answer: str, share: float) -> str:
    return (
        f'<div class="bar"><span>{_text(answer)}</span><span class="room">'
        f'<i style="width:{100 * share:.1f}%"></i></span><span>{_percent(share)}</span></div>'
    )


def _percent(share: float) -> str:
    percent = 100 * float(share)
    return f"{percent:.0f} %" if percent >= 1 or percent == 0 else f"{percent:.1g} %"


def commands(browser: Browser, options: str, folder: str) -> list[str]:
    """What can be done with the exported files, a command each.

    Args:
        browser: the questions and the runs.
        options: those that name the questions for other commands.
        folder: of the images.
    """
    images = shlex.quote(folder)
    found = []
    if browser.runs:
        file = shlex.quote(str(next(iter(browser.runs.values())).file))
        found.append(f"clipvil show {file} {options} --ids ids.json --output picture.png")
    if browser.questions.table.images_per_sample == 1:
        found.append(f"clipvil answer MODEL questions.json --images {images}")
        section = "dataset_config.clipvil_custom"
        found.append(
            f"mmf_run config=projects/clipvil/configs/custom_small.yaml {section}.data_dir=. "
            f"{section}.images_dir={images} {section}.annotations.train=questions.json"
        )
    return found


def _head(title: str) -> str:
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{_text(title)}</title><style>{CSS}</style></head>'
    )


def _text(value: str) -> str:
    return escape(value, quote=True)
