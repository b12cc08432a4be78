"""The fenced code blocks of README.md and docs/, and their commands."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bridge.runs import ROOT

PAGES = (ROOT / "README.md", ROOT / "bridge/README.md", *sorted((ROOT / "docs").glob("*.md")))
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# The line before the block of a file: `path`:
_FILE = re.compile(r"`([\w/]+\.\w+)`[^`\n]*:\n\Z")
_INLINE = re.compile(r"`([^`]+)`")
_OPTION = re.compile(r"[a-z_]+(\.[\w\[\]]+)+=\S+")
PROGRAMS = ("mmf_run", "mmf_predict", "clipvil", "torchrun", "python", "pytest", "make", "pip")
_OTHERS = ("git", ".", "hf", "tensorboard")


@dataclass(frozen=True)
class Block:
    """A fenced code block."""

    page: str
    line: int
    language: str
    text: str
    file: str | None  # that the block is, as the line before it says

    def __str__(self):
        return f"{self.page}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command, its words as a shell has them."""

    page: str
    line: int
    words: tuple[str, ...]
    is_named: bool = False  # in the text: its arguments may be left out

    def __str__(self):
        return f"{self.page}:{self.line} {' '.join(self.words[:3])}"

    @property
    def program(self):
        return self.words[0]

    @property
    def what(self):
        """What it does, without its options: what the table of tests has it by."""
        config = [word for word in self.words if word.startswith("config=")]
        if config:
            return f"{self.program} {Path(config[0].removeprefix('config=')).stem}"
        return " ".join(word for word in self.words[:2] if "/" not in word)


def _pages():
    return [(str(page.relative_to(ROOT)), page.read_text(encoding="utf-8")) for page in PAGES]


def _line(text, position):
    return text.count("\n", 0, position) + 1


def blocks(*languages):
    """The blocks of these languages, '' for none."""
    found = []
    for page, text in _pages():
        for match in _FENCED.finditer(text):
            file = _FILE.search(text[: match.start()])
            line = _line(text, match.start())
            found.append(Block(page, line, match[1], match[2], file and file[1]))
    return [block for block in found if block.language in languages]


def commands():
    """The commands of the blocks without a language, and those in the text with arguments."""
    found = []
    for block in blocks(""):
        for line in block.text.replace("\\\n", " ").splitlines():
            words = line.split(" #")[0].split()
            if words and words[0] in (*PROGRAMS, *_OTHERS):
                found.append(Command(block.page, block.line, tuple(words)))
    for page, text in _pages():
        for match in _INLINE.finditer(_FENCED.sub(_blank, text)):
            words = match[1].split()
            if words[:1] and words[0] in PROGRAMS and len(words) > 2 and "..." not in match[1]:
                found.append(Command(page, _line(text, match.start()), tuple(words), True))
    return [_continued(command, found) for command in found]


def _blank(match):
    return "\n" * match[0].count("\n")


def _continued(command, others):
    """`mmf_run ... KEY=VALUE` takes the first configuration of its page."""
    if "..." not in command.words:
        return command
    words = [word for word in command.words if word != "..."]
    if not any(word.startswith("config=") for word in words):
        configs = [
            word
            for other in others
            if other.page == command.page
            for word in other.words
            if word.startswith("config=")
        ]
        words.insert(1, configs[0])
    return replace(command, words=tuple(words))


def options():
    """(page, options) of MMF that stand alone in the text, such as training.batch_size=8."""
    found = []
    for page, text in _pages():
        for match in _INLINE.finditer(_FENCED.sub(_blank, text)):
            words = match[1].split()
            if words and all(map(_OPTION.fullmatch, words)):
                found.append((page, tuple(words)))
    return found
