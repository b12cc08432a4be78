"""Which files a split's published name stands for, and whether they are there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from clipvil_mmf.data.formats import vqa_official

# Where question files lie in the folder of a dataset: as people unpack them, and as MMF's zoo does.
_FOLDERS = ("", "annotations", "questions", "defaults/annotations")


class MissingFilesError(FileNotFoundError):
    """A split whose files are not there; the message says what was looked for and what to do."""


@dataclass(frozen=True)
class SplitFiles:
    """The files that the published splits of a dataset consist of.

    Args:
        names: split -> sets of files to look for, the first complete set is taken. A set is a
            question file, for official VQA v2 followed by the file of its annotations.
        advice: split -> what to do if it is missing.
        vocabularies: published answer lists; the first that is there is taken.
    """

    names: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=dict)
    advice: Mapping[str, str] = field(default_factory=dict)
    vocabularies: tuple[str, ...] = ()

    def find(self, name: str, data_dir: Path) -> list[Path]:
        """The files of a split.

        Args:
            name: of the split, or a question file: a path, relative to ``data_dir``. The
                annotations of an official VQA v2 file are found beside it by their name.
            data_dir: the folder of the dataset.

        Raises:
            MissingFilesError: they are not there, or the name is unknown.
        """
        if Path(name).suffix in (".json", ".npy"):
            return self._explicit(data_dir / name)
        if name not in self.names:
            known = f"expected {', '.join(self.names)}, or" if self.names else "expected"
            raise MissingFilesError(f"{name!r} is no split; {known} a file (.json or .npy)")
        for files in self.names[name]:
            for folder in _FOLDERS:
                paths = [data_dir / folder / file for file in files]
                if all(path.is_file() for path in paths):
                    return paths
        wanted = ", or ".join(" with ".join(files) for files in self.names[name])
        advice = self.advice.get(name, "Fetch it, or correct data_dir")
        raise MissingFilesError(f"the split {name!r} needs {wanted} in {data_dir}. {advice}")

    def vocabulary(self, data_dir: Path) -> Path | None:
        """The published answer list in the folder of the dataset."""
        found = (data_dir / file for file in self.vocabularies)
        return next((file for file in found if file.is_file()), None)

    def _explicit(self, path: Path) -> list[Path]:
        if not path.is_file():
            raise MissingFilesError(f"the question file {path} does not exist. Correct its path")
        annotations = path.with_name(vqa_official.annotation_file(path.name))
        if annotations != path and annotations.is_file():
            return [path, annotations]
        return [path]
