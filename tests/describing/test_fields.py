"""The fields of dataclasses, as their sources describe them."""

from __future__ import annotations

from dataclasses import dataclass, field, make_dataclass

from clipvil_mmf.config import check_at_least, check_choice, check_probability
from clipvil_mmf.describing.fields import NO_DEFAULT, fields_of

MODES = ("train", "eval")


@dataclass
class Base:
    """A section."""

    # One of two:
    # on two lines.
    mode: str
    # Both of these.
    first: float = 0.5
    second: float = 0.5

    plain: list[int] = field(default_factory=lambda: [1])

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, MODES)
        for key in ("first", "second"):
            check_probability(key, getattr(self, key))


@dataclass
class Derived(Base):
    """Another one."""

    second: float = 0.25
    # Of its own.
    count: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("count", self.count, 3)


def test_comments_above_fields_are_their_descriptions():
    found = fields_of(Derived)
    assert list(found) == ["mode", "first", "second", "plain", "count"]
    assert found["mode"].description == "One of two: on two lines."
    assert found["first"].description == found["second"].description == "Both of these."
    assert found["plain"].description == ""
    assert found["count"].description == "Of its own."


def test_types_defaults_and_limits():
    found = fields_of(Derived)
    assert found["mode"].default is NO_DEFAULT and found["mode"].choices == MODES
    assert (found["second"].default, found["second"].at_least, found["second"].below) == (
        0.25,
        0,
        1,
    )
    assert (found["count"].type, found["count"].at_least) == ("int | null", 3)
    assert found["plain"].default == [1]


def test_the_place_of_a_field():
    file, line = fields_of(Derived)["count"].place
    with open(file, encoding="utf-8") as lines:
        assert lines.readlines()[line - 1].startswith("    count: int")


def test_a_dataclass_without_source():
    assert fields_of(make_dataclass("Made", [("a", int, 1)]))["a"].description == ""
