"""How LXMERT's pre-training writes answers. Imports the standard library."""

from __future__ import annotations

from collections.abc import Mapping

_ARTICLES = ("a ", "an ", "the ")
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_WORDS: dict[str, str] = {
    **{word: str(number) for number, word in enumerate(_NUMBERS, 1)},
    # What a second article leaves: "the a man".
    **{f"{article} {who}": who for article in ("a", "the") for who in ("man", "woman")},
    "grey": "gray",
}


def pretraining_form(answer: str) -> str:
    """An answer as LXMERT's pre-training table writes it (airsplay/lxmert, AnswerTable).

    Lower case; a final "." goes; then "a ", "an " and "the ", each once and in that order, and with
    each of these the blanks around what is left. Of whole answers, "one" to "ten" become digits,
    "grey" becomes "gray", and "man" and "woman" lose one more "a" or "the".
    """
    answer = answer.lower()
    if answer.endswith("."):
        answer = answer[:-1].strip()
    for article in _ARTICLES:
        if answer.startswith(article):
            answer = answer[len(article) :].strip()
    return _WORDS.get(answer, answer)


def pretraining_label(label: Mapping[str, float]) -> dict[str, float]:
    """A soft label with its answers in that form; of two spellings the higher score counts.

    (The published code keeps the score that it comes to last.)
    """
    found: dict[str, float] = {}
    for answer, score in label.items():
        form = pretraining_form(answer)
        found[form] = max(score, found.get(form, 0.0))
    return found
