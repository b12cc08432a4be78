"""The fenced code blocks of README.md and docs/."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.bridge.runs import ROOT

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# The line before the block of a file: `path`:
_NAME = re.compile(r"`([\w/.]+)`[^`\n]*:\n\Z")


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    text: str
    # The file that the block is, as the line before it says.
    file: str | None = None

    def __str__(self):
        return f"{self.page}:{self.line}"


def blocks(*languages: str) -> list[Block]:
    """Those of the given languages, '' for none."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in _FENCED.finditer(text):
            name = _NAME.search(text[: match.start()])
            found.append(
                Block(
                    str(Path(page).relative_to(ROOT)),
                    text.count("\n", 0, match.start()) + 1,
                    match[1],
                    match[2],
                    name and name[1],
                )
            )
    return [block for block in found if block.language in languages]


# The first word of a command; a block with none of them shows output or a folder.
PROGRAMS = ("mmf_run", "mmf_predict", "clipvil", "torchrun", "python", "pytest", "make", "pip")
PROGRAMS += ("git", ".", "MMF_BRIDGE=0", "MMF_MAIN=../mmf")


@dataclass(frozen=True)
class Command:
    page: str
    line: int
    words: tuple[str, ...]

    def __str__(self):
        return f"{self.page}:{self.line}"


def commands() -> list[Command]:
    """The commands of the blocks without a language, a line each."""
    found = []
    for block in blocks("", "bash", "sh"):
        lines = block.text.replace("\\\n", " ").splitlines()
        for line in lines:
            words = line.split("#")[0].split()
            if words and words[0] in PROGRAMS:
                found.append(Command(block.page, block.line, tuple(words)))
    return found
