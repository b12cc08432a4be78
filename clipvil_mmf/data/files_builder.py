"""What the datasets share that are read from question files and a folder of images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmf.utils.distributed import is_master

from clipvil_mmf.config import ConfigError, check_at_least
from clipvil_mmf.data.answers import build_answer_vocabulary, read_answer_file
from clipvil_mmf.data.builder import ClipVilBuilder
from clipvil_mmf.data.dataset import DatasetParams
from clipvil_mmf.data.split_files import MissingFilesError, SplitFiles
from clipvil_mmf.data.store import open_or_convert
from clipvil_mmf.data.table import QuestionTable

logger = logging.getLogger(__name__)

_SPLITS = ("train", "val", "test")
_NONE = "none"


@dataclass
class FilesParams(DatasetParams):
    """The section of a dataset of question files; see also ``DatasetParams``.

    Args:
        images: folder of the images; relative to ``data_dir``.
        annotations: for each of train, val and test the splits it consists of: a list, or names
            with commas between them. A split is a published name, or a question file, relative to
            ``data_dir``. An empty list, or ``none``: there is no such split.
        store_dir: folder that keeps the converted question files, by default ``clipvil_store`` in
            ``data_dir``; relative to ``data_dir``.
        answer_min_count: where there is no published answer list, one is made of the training
            questions; an answer that is the main one of fewer questions is left out.
    """

    images: str = "."
    annotations: dict[str, Any] = field(default_factory=dict)
    store_dir: str = "clipvil_store"
    answer_min_count: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least("answer_min_count", self.answer_min_count, 1)
        if self.data_dir is None:
            raise ConfigError("data_dir: missing; expected the folder of the dataset's files.")
        for split, names in self.annotations.items():
            if split not in _SPLITS:
                raise ConfigError(
                    f"annotations.{split}: unknown key. Choices: {', '.join(_SPLITS)}."
                )
            self.annotations[split] = _names(names, f"annotations.{split}")


class FilesBuilder(ClipVilBuilder):
    """Builds a dataset from question files; a subclass names its files, if they have names."""

    params_class = FilesParams
    # What the published names of splits stand for.
    files = SplitFiles()

    def table(self, params: FilesParams, split: str) -> QuestionTable | None:
        """The questions of a split, converted at the first use.

        Raises:
            ConfigError: its files are missing, or training questions have no answers.
        """
        names = params.annotations.get(split) or []
        if not names:
            return None
        key = f"dataset_config.{self.dataset_name}.annotations.{split}"
        data_dir = Path(params.data_dir or ".")
        stores = data_dir / params.store_dir
        tables = []
        for name in names:
            try:
                files = self.files.find(name, data_dir)
            except MissingFilesError as error:
                raise ConfigError(f"{key}: {error}.") from error
            tables.append(open_or_convert(files, stores / _store_name(name), is_master()))
        table = QuestionTable.concatenate(tables)
        if split == "train" and not table.is_labelled:
            raise ConfigError(
                f"{key}: {table.source} has no answers; expected training questions with answers. "
                "Official VQA v2 questions need their annotations file beside them."
            )
        logger.info(
            "%s %s: %s, recognised as %s",
            self.dataset_name,
            split,
            " + ".join(names),
            " and ".join(table.formats),
        )
        return table

    def image_root(self, params: FilesParams) -> str:
        """The folder of the images.

        Raises:
            ConfigError: there is no such folder.
        """
        folder = Path(params.data_dir or ".", params.images)
        if not folder.is_dir():
            raise ConfigError(
                f"dataset_config.{self.dataset_name}.images: {folder} is no folder; expected the "
                "folder of the images. Correct it, or data_dir."
            )
        return str(folder)

    def answers(self, params: FilesParams) -> Sequence[str]:
        """The published answer list, if it lies in ``data_dir``; else one made of the training set.

        Raises:
            ConfigError: there is no training split to make one from.
        """
        file = self.files.vocabulary(Path(params.data_dir or "."))
        if file is not None:
            logger.info("%s: answers from %s", self.dataset_name, file)
            return read_answer_file(str(file))
        table = self.table(params, "train")
        if table is None:
            raise ConfigError(
                f"dataset_config.{self.dataset_name}.processors.answer_processor.params.vocab: "
                "there is no answer list in data_dir and no training split to make one from. Name "
                "the file of one: <save_dir>/vocabularies of the training run has it."
            )
        answers = build_answer_vocabulary(table, params.answer_min_count)
        logger.info(
            "%s: %d answers that are the main one of %d training questions at least",
            self.dataset_name,
            len(answers),
            params.answer_min_count,
        )
        return answers


def _names(value: Any, key: str) -> list[str]:
    if value is None or value == _NONE:
        return []
    if isinstance(value, str):
        value = [name.strip() for name in value.split(",")]
    if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
        raise ConfigError(f"{key}: got {value!r}, expected names of splits or question files.")
    return value


def _store_name(split: str) -> str:
    """The store of a question file keeps its whole path, so that equal names do not meet."""
    return split.replace("/", "__")
