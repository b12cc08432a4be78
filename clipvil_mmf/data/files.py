"""Datasets whose splits are question files in a folder: what published ones and one's own share."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from mmf.utils.distributed import is_master

from clipvil_mmf.config import ConfigError, check_at_least, check_keys, from_config
from clipvil_mmf.data.builder import ClipVilBuilder
from clipvil_mmf.data.catalogue import (
    CATALOGUES,
    Catalogue,
    CatalogueError,
    find_split,
    store_folder,
)
from clipvil_mmf.data.dataset import DatasetParams
from clipvil_mmf.data.formats import FORMATS
from clipvil_mmf.data.label_vocabulary import build_labels
from clipvil_mmf.data.labels import FROM_DATASET
from clipvil_mmf.data.store import open_or_convert, store_path
from clipvil_mmf.data.table import QuestionTable

logger = logging.getLogger(__name__)

MMF_SPLITS = ("train", "val", "test")


@dataclass
class FilesParams(DatasetParams):
    """The section ``dataset_config.<dataset>`` of a dataset that is a folder of files."""

    # Folder of the images; null for the one where the dataset's archives unpack.
    images_dir: str | None = None
    # train, val and test -> the parts that make it up, one after the other: names of published
    # splits, or question files (relative to data_dir), in a list or with commas between them.
    # Official VQA v2 files of other names are given as {questions: FILE, annotations: FILE}. A
    # split without parts does not exist.
    annotations: dict[str, Any] = field(default_factory=dict)
    # Where the converted question files are kept; null for <data_dir>/stores.
    store_dir: str | None = None
    # With answer_processor.params.vocab: dataset, how often a label has to be the main one of a
    # training question to get into the vocabulary.
    answer_min_count: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("answer_min_count", self.answer_min_count, 1)
        check_keys("annotations", self.annotations, MMF_SPLITS)
        for split, parts in self.annotations.items():
            if isinstance(parts, str):  # as on the command line
                self.annotations[split] = list(filter(None, map(str.strip, parts.split(","))))
            elif isinstance(parts, dict):
                self.annotations[split] = [parts]
            parts = self.annotations[split]
            known = isinstance(parts, list) and all(isinstance(p, (str, dict)) for p in parts)
            if parts is not None and not known:
                raise ConfigError(
                    f"annotations.{split}: got {parts!r:.80}; expected a list of names, files or "
                    "{questions: FILE, annotations: FILE}."
                )


class FilesBuilder(ClipVilBuilder):
    """Builds a dataset from question files in a folder, converted once into mapped stores."""

    params_class = FilesParams
    # The notes of formats that the log has.
    _noted: ClassVar[set[str]] = set()

    def table(self, params: FilesParams, split: str) -> QuestionTable | None:
        """The questions of a split; ``None`` where ``annotations`` gives it no parts."""
        parts = params.annotations.get(split) or []
        tables = [self._part(params, part, f"annotations.{split}") for part in parts]
        return QuestionTable.concatenate(tables) if tables else None

    def labels(self, params: FilesParams) -> Sequence[str] | None:
        """The frequent labels of the training questions; ``AnnotationError``: they have none."""
        train = self.table(params, "train")
        if train is None:
            return None
        train.check_labelled()
        return build_labels([train], params.answer_min_count)

    def image_root(self, params: FilesParams) -> str:
        return params.images_dir or str(self.root(params))

    def root(self, params: Any) -> Path:
        """The folder of the dataset; ``ConfigError``: it is not configured, or not there."""
        root = Path(params.data_dir or "").expanduser()
        if not params.data_dir or not root.is_dir():
            raise ConfigError(
                f"dataset_config.{self.dataset_name}.data_dir: {params.data_dir} is not a folder; "
                f"expected the folder with the files of {self.dataset_name}. {self.advice}"
            )
        return root

    # What to do when files are missing.
    advice = "Set it to your folder"

    def files_of(self, params: FilesParams, part: str) -> tuple[str, list[Path]]:
        """The name of a part's store, and the part's files; ``FileNotFoundError``: none."""
        file = self.root(params) / part
        if not file.is_file():
            raise FileNotFoundError(
                f"dataset_config.{self.dataset_name}.annotations: question file {file} does not "
                "exist; expected a file, its path relative to data_dir"
            )
        return Path(part).stem, [file]

    def _part(self, params: FilesParams, part: Any, where: str) -> QuestionTable:
        if isinstance(part, dict):
            if set(part) != {"questions", "annotations"}:
                raise ConfigError(
                    f"dataset_config.{self.dataset_name}.{where}: got the keys {sorted(part)}; "
                    "expected a name, a file, or {questions: FILE, annotations: FILE}."
                )
            files = [self.root(params) / str(part[key]) for key in ("questions", "annotations")]
            name = files[0].stem
        else:
            name, files = self.files_of(params, str(part))
        folder = store_folder(self.root(params), name)
        if params.store_dir is not None:
            folder = Path(params.store_dir).expanduser() / name
        table = open_or_convert(files, folder, progress=is_master())
        what = f"{self.dataset_name} {part if isinstance(part, str) else name}: {table.formats[0]}"
        where = store_path(files, folder)
        mapped = what, len(table), where
        logger.info("%s, %d questions, mapped from %s", *mapped, extra={"console": False})
        note = getattr(FORMATS.get(table.formats[0]), "NOTE", None)
        if note is not None and note not in self._noted:
            self._noted.add(note)
            logger.warning("%s: %s", self.dataset_name, note)
        for reason, count in table.left_out.items():
            logger.info("%s: %d rows are left out: %s", what, count, reason)
        return table


class CatalogueBuilder(FilesBuilder):
    """Builds a dataset of the catalogue: its splits go by their published names, too."""

    @property
    def catalogue(self) -> Catalogue:
        """What is known of the dataset."""
        return CATALOGUES[self.name]

    @property
    def advice(self) -> str:  # type: ignore[override]
        return f"`clipvil prepare {self.name} --root DIR` lists what is missing, and where it is"

    def image_root(self, params: FilesParams) -> str:
        return params.images_dir or str(self.root(params) / self.catalogue.image_root)

    def files_of(self, params: FilesParams, part: str) -> tuple[str, list[Path]]:
        """See ``FilesBuilder``; a ``CatalogueError`` says what is missing of a published split."""
        if Path(part).suffix:  # no split has one in its name, every file has
            return super().files_of(params, part)
        try:
            files = find_split(self.name, part, self.root(params))
        except CatalogueError as error:
            raise CatalogueError(f"{error}. {self.advice}{self.hint(part)}") from error
        return self.catalogue.aliases.get(part, part), files

    def _vocabulary_hint(self) -> str:
        if self.catalogue.min_count is None:
            return "The task says its labels: 'dataset'."
        answers = self.catalogue.answers
        hint = "" if answers is None else f"The published list is {answers.url}; "
        return f"{hint}'dataset' makes one of the training answers."

    def hint(self, part: str) -> str:
        """What else may help where the files of a split are missing."""
        return ""

    def load(
        self, config: Any, dataset_type: str = "train", *args: Any, **kwargs: Any
    ) -> Any | None:
        """Build the dataset of a split; see ``ClipVilBuilder``.

        Its vocabulary of labels may lie in every folder of the dataset's files; a ``ConfigError``
        says that it is in none of them.
        """
        params = from_config(self.params_class, config, f"dataset_config.{self.dataset_name}")
        section = params.processors.get("answer_processor") or {}
        vocab, root = (section.get("params") or {}).get("vocab", FROM_DATASET), self.root(params)
        # What is no text the processor refuses.
        if vocab == FROM_DATASET or not isinstance(vocab, str) or Path(vocab).is_file():
            return super().load(config, dataset_type, *args, **kwargs)
        found = self.catalogue.find(root, vocab)
        if found is None:
            raise ConfigError(
                f"dataset_config.{self.dataset_name}.processors.answer_processor.params.vocab: "
                f"{vocab} is neither in the current directory nor in {root}. "
                f"{self._vocabulary_hint()}"
            )
        config.processors.answer_processor.params.vocab = str(found)
        return super().load(config, dataset_type, *args, **kwargs)
