"""What is asked of the page: filters, order and place, which its address holds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

SORTS = {
    "": "the file",
    "id": "id",
    "-loss": "loss, highest first",
    "loss": "loss, lowest first",
    "-confidence": "confidence, highest first",
    "confidence": "confidence, lowest first",
}
RIGHT, WRONG, UNANSWERED = "right", "wrong", "unanswered"
VERDICTS = (RIGHT, WRONG, UNANSWERED)
DIFFER, ONLY_THIS, ONLY_OTHER, NEITHER, BOTH = "differ", "this", "other", "neither", "both"
COMPARISONS = {
    DIFFER: "they answer differently",
    ONLY_THIS: "the run alone is right",
    ONLY_OTHER: "the other alone is right",
    NEITHER: "both are wrong",
    BOTH: "both are right",
}
_LONGEST = 1000  # characters of a value
_KIND = "kind."  # before the name of a kind, in an address


class FilterError(ValueError):
    """An address that asks for what cannot be; the message is for the visitor."""


@dataclass(frozen=True)
class Filters:
    """What a page shows; the fields are the parameters of its address."""

    text: str = ""  # in the question
    answer: str = ""  # a right one
    id: str = ""
    image: str = ""  # path of it, or its last part
    kinds: tuple[tuple[str, str], ...] = ()  # kind -> name, in the address ``kind.<kind>``
    run: str = ""  # the run that the following are about; '' for the first
    verdict: str = ""
    said: str = ""  # its answer
    least: float | None = None  # confidence, in percent
    most: float | None = None
    compare: str = ""
    other: str = ""  # the run that it is compared with; '' for the first other one
    sort: str = ""
    page: int = 1

    @classmethod
    def from_query(
        cls, query: str, runs: Sequence[str], kinds: Mapping[str, Collection[str]]
    ) -> Filters:
        """Read the query of an address; empty values are as if they were not there.

        Args:
            query: what stands behind the ``?``.
            runs: names of the runs.
            kinds: name of each kind of questions -> the names in it.

        Raises:
            FilterError: an unknown parameter, run, kind or choice, or a number that is none.
        """
        try:
            given = parse_qsl(query, max_num_fields=100, errors="strict")
        except ValueError as e:
            raise FilterError(f"The address cannot be read: {e}") from e
        values: dict[str, Any] = {}
        named: dict[str, str] = {}
        for name, value in given:
            if not name.startswith(_KIND) and name not in _CHOSEN:
                value = value.strip()
            if len(value) > _LONGEST:
                raise FilterError(f"{name} has more than {_LONGEST} characters")
            if name.startswith(_KIND):
                kind = name.removeprefix(_KIND)
                _check(kind, kinds, "kind of questions")
                _check(value, kinds[kind], kind)
                named[kind] = value
            else:
                _check(name, _NAMES, "parameter of the address")
                values[name] = value
        for name in ("least", "most"):
            if name in values:
                values[name] = _percent(name, values[name])
        if "page" in values:
            page = values["page"]
            if not (page.isascii() and page.isdecimal() and 1 <= int(page) < 2**31):
                raise FilterError(f"page: {page!r} is not a number of a page")
            values["page"] = int(page)
        known = {"run": runs, "other": runs, "verdict": VERDICTS, "compare": COMPARISONS}
        for name, choices in {**known, "sort": SORTS}.items():
            _check(values.get(name, ""), ("", *choices), name)
        found = cls(kinds=tuple(sorted(named.items())), **values)
        return found._checked(runs)

    def _checked(self, runs: Sequence[str]) -> Filters:
        """Without what is the default anyway."""
        needs = (*_OF_RUN, *_OF_CONFIDENCE)
        asked = next((name for name in needs if getattr(self, name) not in ("", None)), None)
        if not runs and (asked or self.sort.lstrip("-") in ("loss", "confidence")):
            raise FilterError(f"{asked or 'sort'}: there are no predictions; give --predictions")
        if self.compare and len(runs) < 2:
            raise FilterError("compare: there is one run; give --predictions twice")
        if self.compare and self.run_of(runs) == self.other_of(runs):
            raise FilterError("compare: choose two runs, this is the same one")
        other = self.other if self.compare else ""
        is_default = replace(self, other="").other_of(runs) == other
        run = "" if runs and self.run == runs[0] else self.run
        return replace(self, run=run, other="" if is_default else other)

    def run_of(self, runs: Sequence[str]) -> str:
        """The name of the run that filters are about; '' where there is none."""
        return self.run or (runs[0] if runs else "")

    def other_of(self, runs: Sequence[str]) -> str:
        """The name of the run that it is compared with; '' where there is none."""
        mine = self.run_of(runs)
        return self.other or next((run for run in runs if run != mine), "")

    @property
    def query(self) -> str:
        """The query of the address; the same filters have the same one."""
        pairs: list[tuple[str, str]] = [(_KIND + kind, name) for kind, name in self.kinds]
        for name in _NAMES:
            value = getattr(self, name)
            if value != _DEFAULTS[name]:
                pairs.append((name, f"{value:g}" if isinstance(value, float) else str(value)))
        return urlencode(pairs)

    @property
    def key(self) -> Filters:
        """The same on the first page: what decides which questions there are."""
        return replace(self, page=1)


_DEFAULTS = {field.name: field.default for field in fields(Filters) if field.name != "kinds"}
_NAMES = tuple(_DEFAULTS)
_CHOSEN = ("run", "other")  # from names, which may begin or end with spaces
_OF_RUN = ("run", "verdict", "said", "compare", "other")
_OF_CONFIDENCE = ("least", "most")


def _check(value: str, known: Collection[str], what: str) -> None:
    if value not in known:
        raise FilterError(f"{what}: there is no {value!r}; choose {_listed(known)}")


def _listed(known: Collection[str]) -> str:
    names = [name for name in known if name]
    return ", ".join(names[:20]) + (" ..." if len(names) > 20 else "") if names else "nothing"


def _percent(name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 100:
        raise FilterError(f"{name}: {value!r} is not a confidence in percent, 0 to 100")
    return number
