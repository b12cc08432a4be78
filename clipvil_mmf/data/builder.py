"""What MMF builds datasets with; each dataset of the plugin adds only where its records are."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmf.common.registry import registry
from mmf.datasets.mmf_dataset_builder import MMFDatasetBuilder
from mmf.utils.configuration import get_mmf_env, get_zoo_config
from mmf.utils.distributed import is_master

from clipvil_mmf.config import ConfigError
from clipvil_mmf.data.annotations import Question
from clipvil_mmf.data.dataset import ClipVilDataset


class ClipVilBuilder(MMFDatasetBuilder):
    """Builds ``ClipVilDataset`` on both MMF lines; subclasses give questions and answers.

    For the model, MMF's registry gets ``<dataset>_text_vocab`` and ``<dataset>_answer_vocab`` (the
    lists of tokens and of answers) and ``<dataset>_num_final_outputs``. The lists are also written
    to ``<save_dir>/vocabularies``.
    """

    def __init__(self, dataset_name: str, *args: Any, **kwargs: Any) -> None:
        super().__init__(dataset_name, ClipVilDataset)

    def questions(self, config: Any, split: str) -> Sequence[Question]:
        """The records of a split (train, val or test)."""
        raise NotImplementedError

    def answers(self, config: Any) -> Sequence[str] | None:
        """The answer list that the dataset brings, if it does."""
        return None

    def source(self, config: Any, split: str) -> str:
        """Where the records of a split come from, for messages."""
        return f"{self.dataset_name} {split}"

    def build(self, config: Any, dataset_type: str = "train", *args: Any, **kwargs: Any) -> None:
        """Fetch what ``zoo_requirements`` lists, by MMF's downloader; nothing if it is empty.

        Raises:
            ConfigError: MMF's zoo has no such entry.
            DownloadError: a file cannot be fetched (the message says what to put where), or its
                checksum is another one.
        """
        requirements = config.get("zoo_requirements") or []
        for name in requirements:
            # MMF would pass over a misspelt name; "none" is how its own yaml files skip downloads.
            entry = get_zoo_config(name, "defaults", self.zoo_config_path, self.zoo_type)
            if name != "none" and entry[1] is None:
                raise ConfigError(
                    f"dataset_config.{self.dataset_name}.zoo_requirements: MMF's zoo has no entry "
                    f"{name!r}; expected one such as vqa2.defaults, or [] for no downloads."
                )
        if requirements:
            super().build(config, dataset_type, *args, **kwargs)

    def load(
        self, config: Any, dataset_type: str = "train", *args: Any, **kwargs: Any
    ) -> ClipVilDataset:
        """Build the dataset of a split (bare: MMF's concatenation would hide its batching)."""
        self.config = config
        questions = self.questions(config, dataset_type)

        def training_texts() -> list[str]:
            train = questions if dataset_type == "train" else self.questions(config, "train")
            return [question.text for question in train]

        self.dataset = ClipVilDataset(
            self.dataset_name,
            config,
            dataset_type,
            questions=questions,
            source=self.source(config, dataset_type),
            training_questions=training_texts,
            answers=self.answers(config),
        )
        return self.dataset

    def update_registry_for_model(self, config: Any) -> None:
        """Tell the model the vocabularies, and keep them beside the checkpoints."""
        vocabularies = {
            "text": list(self.dataset.text_processor.tokens),
            "answer": list(self.dataset.answer_processor.answers),
        }
        for kind, words in vocabularies.items():
            registry.register(f"{self.dataset_name}_{kind}_vocab", words)
        registry.register(f"{self.dataset_name}_num_final_outputs", len(vocabularies["answer"]))
        if is_master():
            folder = Path(get_mmf_env("save_dir"), "vocabularies")
            write_lines(folder / f"{self.dataset_name}_text.txt", vocabularies["text"])
            write_lines(folder / f"{self.dataset_name}_answers.txt", vocabularies["answer"])


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write a text file at once: a reader sees the old one or all of the new one."""
    text = "".join(f"{line}\n" for line in lines)
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
