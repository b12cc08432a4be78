"""What MMF builds datasets with; each dataset of the plugin adds only where its records are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmf.common.registry import registry
from mmf.datasets.mmf_dataset_builder import MMFDatasetBuilder
from mmf.utils.configuration import get_mmf_env, get_zoo_config
from mmf.utils.distributed import is_master
from omegaconf import OmegaConf

from clipvil_mmf.atomic import whole_file
from clipvil_mmf.config import ConfigError, from_config
from clipvil_mmf.data.dataset import ClipVilDataset, DatasetParams
from clipvil_mmf.data.pretraining import PretrainingDataset
from clipvil_mmf.data.table import QuestionTable
from clipvil_mmf.paths import config_dir
from clipvil_mmf.tasks import build_task


class ClipVilBuilder(MMFDatasetBuilder):
    """Builds ``ClipVilDataset`` on both MMF lines; subclasses give questions and labels.

    For the model, MMF's registry gets ``<dataset>_text_vocab`` and ``<dataset>_answer_vocab`` (the
    lists of tokens and of labels), ``<dataset>_num_final_outputs`` and ``<dataset>_task`` (a
    ``tasks.Task``). The lists are also written to ``<save_dir>/vocabularies``.
    """

    # The dataclass of the dataset's section of the configuration.
    params_class: type[DatasetParams] = DatasetParams
    # Of a dataset of this package: its key in the configuration, and the name of its defaults.
    name: str = ""

    def __init__(self, dataset_name: str | None = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(dataset_name or self.name, ClipVilDataset)
        self.dataset: ClipVilDataset | None = None

    @classmethod
    def config_path(cls) -> str | None:
        """The absolute path of the dataset's defaults, if it has some."""
        return str(config_dir() / "datasets" / f"{cls.name}.yaml") if cls.name else None

    @staticmethod
    def suits(model: type) -> bool:
        """Whether a model reads the batches of this plugin's datasets: MMF's own read features."""
        return getattr(model, "reads_images", False)

    def table(self, params: Any, split: str) -> QuestionTable | None:
        """The questions of a split (train, val or test); ``None`` if the dataset lacks it."""
        raise NotImplementedError(f"{type(self).__name__}.table: a dataset says here what it asks.")

    def labels(self, params: Any) -> Sequence[str] | None:
        """The list of labels that the dataset brings, if it does."""
        return None

    def vocabulary_texts(self, params: Any, train: QuestionTable | None) -> Sequence[str]:
        """The texts that a vocabulary is made from: the training questions."""
        return [] if train is None else train.texts()

    def image_root(self, params: Any) -> str:
        """The folder that the image paths of the tables are relative to; '' if they are whole."""
        return ""

    def build(self, config: Any, dataset_type: str = "train", *args: Any, **kwargs: Any) -> None:
        """Fetch what ``zoo_requirements`` lists, by MMF's downloader; nothing if it is empty.

        MMF's own zoo goes first; ``configs/zoo/datasets.yaml`` has what it lacks.

        Raises:
            ConfigError: neither has such an entry.
            DownloadError: a file cannot be fetched, or its checksum is another one.
        """
        mmfs = self.zoo_config_path
        params = from_config(self.params_class, config, f"dataset_config.{self.dataset_name}")
        for name in params.zoo_requirements:
            if name == "none":  # how MMF's own yaml files skip downloads
                continue
            self.zoo_config_path = self._zoo_with(name, mmfs)
            one = OmegaConf.merge(config, {"zoo_requirements": [name]})
            super().build(one, dataset_type, *args, **kwargs)
        self.zoo_config_path = mmfs

    def _zoo_with(self, name: str, mmfs: str) -> str:
        for zoo in (mmfs, str(config_dir() / "zoo" / "datasets.yaml")):
            if get_zoo_config(name, "defaults", zoo, self.zoo_type)[1] is not None:
                return zoo
        raise ConfigError(
            f"dataset_config.{self.dataset_name}.zoo_requirements: MMF's zoo has no entry "
            f"{name!r}; expected one such as vqa2.defaults, or [] for no downloads."
        )

    def load(
        self, config: Any, dataset_type: str = "train", *args: Any, **kwargs: Any
    ) -> ClipVilDataset | None:
        """Build the dataset of a split (bare: MMF's concatenation would hide its batching)."""
        self.config = config
        params = from_config(self.params_class, config, f"dataset_config.{self.dataset_name}")
        table = self.table(params, dataset_type)
        if table is None:
            return None

        def training_texts() -> Sequence[str]:
            train = table if dataset_type == "train" else self.table(params, "train")
            return self.vocabulary_texts(params, train)

        task = build_task(params.task, f"dataset_config.{self.dataset_name}.task")
        dataset_class = PretrainingDataset if task.pretrains else ClipVilDataset
        self.dataset = dataset_class(
            self.dataset_name,
            config,
            dataset_type,
            table=table,
            training_questions=training_texts,
            params=params,
            image_root=self.image_root(params),
            labels=lambda: self.labels(params),
        )
        return self.dataset

    def update_registry_for_model(self, config: Any) -> None:
        """Tell the model the task and the vocabularies, and keep these beside the checkpoints."""
        if self.dataset is None:  # a split that does not exist
            return
        name, labels = self.dataset_name, self.dataset.labels
        tokens = self.dataset.text_processor.tokens
        registry.register(f"{name}_text_vocab", list(tokens))
        registry.register(f"{name}_answer_vocab", list(labels))
        registry.register(f"{name}_num_final_outputs", len(labels))
        registry.register(f"{name}_task", self.dataset.task)
        if is_master():
            folder = Path(get_mmf_env("save_dir"), "vocabularies")
            write_lines(folder / f"{name}_text.txt", tokens)
            write_lines(folder / f"{name}_answers.txt", labels)


def write_lines(path: Path, lines: Sequence[str]) -> None:
    """Write a text file at once: a reader sees the old one or all of the new one."""
    text = "".join(f"{line}\n" for line in lines)
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    with whole_file(path) as file:
        file.write(text.encode())
