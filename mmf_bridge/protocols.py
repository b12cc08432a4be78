"""The hooks that a model, a metric, a dataset or its builder may have, on both lines of MMF.

Nobody needs to inherit from a protocol: a method of that name is enough. An error that a hook
raises ends the run, if nothing else is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import nn


@runtime_checkable
class AdaptsStateDict(Protocol):
    """A model that reads checkpoints of other layouts."""

    def adapt_state_dict(self, state: Mapping[str, Any], file: str) -> Mapping[str, Any]:
        """Called by every process for each checkpoint that is loaded, before its keys are compared
        with the model's: at a resume, for ``checkpoint.resume_file``, and for ``best.ckpt``.

        Args:
            state: what the file holds, tensors by name, on the CPU or the run's device; it may be
                the model's own state dict.
            file: its path, for messages.

        Returns:
            the state dict of this model.

        Raises:
            ValueError: the file does not fit; its text is what the user sees.
        """
        ...


@runtime_checkable
class WritesFinal(Protocol):
    """A model that leaves files of its own formats beside ``<name>_final.pth``."""

    def write_final(self, folder: str) -> None:
        """Called by rank 0 at the end of the training, with the weights of the best evaluation.

        ``folder`` is ``env.save_dir``. A file that cannot be written is an ``OSError``.
        """
        ...


@runtime_checkable
class CompletesConfiguration(Protocol):
    """A model whose configuration has defaults that no yaml file says."""

    def complete_configuration(self, config: dict[str, Any]) -> dict[str, Any]:
        """Called by rank 0 as ``config.yaml`` of a run is written.

        Args:
            config: MMF's whole configuration, interpolations resolved.

        Returns:
            the same with every value in effect, which means the same run.
        """
        ...


@runtime_checkable
class PreparesFromData(Protocol):
    """A model that looks at training data before the first update."""

    def before_training(self, batches: Iterator[Any]) -> None:
        """Called by every process before the first update of a new run, and not where a run goes
        on. The run's order of samples and its random numbers stay as they are.

        Args:
            batches: the train split in an order of its own, this process's share, prepared as
                ``forward`` gets them. Any number of them may be taken.
        """
        ...


@runtime_checkable
class HasCompiledParts(Protocol):
    """A model of which ``training.compile`` compiles some modules, and not the whole."""

    def compiled_parts(self) -> Iterable[nn.Module]:
        """Called once, with the model's weights in place; each part is compiled in place."""
        ...


@runtime_checkable
class CountsMultiplyAdds(Protocol):
    """A model that knows what a forward pass costs."""

    def multiply_adds(self, batch: Any) -> int:
        """The multiply-adds of one sample, for ``run_report.json``.

        Called with the first training batch as ``forward`` gets it; it may be changed. An error
        does not end the run: it stands in the report under ``failures``.
        """
        ...


@runtime_checkable
class AnswersByItself(Protocol):
    """A model class that prepares images and texts for its trained models by itself."""

    @classmethod
    def answerer(cls, path: str) -> Callable[[Any, str], str] | None:
        """Called for ``mmf_interactive`` and ``mmf.utils.inference.Inference``, of MMF main.

        Args:
            path: what they are given as ``checkpoint_path``.

        Returns:
            a function of an image (its path or address) and a text, which gives the answer; None
            where the path does not name a model of this class.

        Raises:
            ValueError: it does, but the model cannot answer; its text is what the user sees.
        """
        ...


@runtime_checkable
class NamesCommands(Protocol):
    """A model that knows commands to use what a run has made."""

    def next_commands(self, config: Any, predicted: Mapping[str, Any]) -> list[str]:
        """Called by rank 0 at the end of a run; the console shows the commands.

        Args:
            config: MMF's whole configuration.
            predicted: the prediction files that the run has written, by dataset.
        """
        ...


@runtime_checkable
class DrawsPredictions(Protocol):
    """A model that draws what it predicts, for trackers."""

    def draw_predictions(self, dataset: Any, indices: Sequence[int], report: Any) -> Any:
        """Called by rank 0 at each evaluation, with the same few samples of the val split.

        Args:
            dataset: of the val split, one with ``collate``.
            indices: of its samples.
            report: MMF's ``Report`` of their batch, with what the model has returned.

        Returns:
            an RGB picture of PIL; None where the dataset has nothing to draw.
        """
        ...


@runtime_checkable
class MeanOfSamples(Protocol):
    """A metric that is a mean over samples: batches are summed up, and no scores are held.

    Its value over a split is the mean of its values over batches, weighted by their sizes.
    """

    mean_of_samples: bool
    """True; a metric with False is computed over the whole split."""


@runtime_checkable
class Collates(Protocol):
    """A dataset that makes its batches by itself."""

    def collate(self, samples: Any) -> Any:
        """Called by the data loader, in its worker processes, in place of MMF's ``BatchCollator``.

        ``samples`` is a list of what ``__getitem__`` gives, or what ``__getitems__`` gives as a
        whole. Returns a ``SampleList``; its fields may have different lengths.
        """
        ...


@runtime_checkable
class BringsBatches(Protocol):
    """A dataset that decides which samples form a batch."""

    def build_batch_sampler(
        self, batch_size: int, shuffle: bool, seed: int, rank: int, world_size: int
    ) -> Any:
        """Called for each split as the data loaders are built.

        Args:
            batch_size: ``training.batch_size``, over all processes.
            shuffle: true for the train split.
            seed: what the order is drawn from, with the epoch; the same on all processes.
            rank: the process whose batches are asked for.
            world_size: how many processes there are.

        Returns:
            an object with ``__len__``, and ``__iter__`` over lists of indices, which depends on the
            seed and on ``set_epoch(epoch)`` alone, if it has that. For training all ranks have as
            many batches; for evaluation each sample is in one batch of one rank.

        Raises:
            ValueError: the batch size cannot be shared.
        """
        ...


@runtime_checkable
class KnowsBatchBytes(Protocol):
    """A dataset that says how large its batches get, for the memory that workers put them in."""

    def batch_bytes(self, samples: int) -> int | None:
        """The bytes of a batch of so many samples at most; None if that is not known.

        A larger batch arrives as well, but more slowly.
        """
        ...


@runtime_checkable
class WritesBareCsv(Protocol):
    """A dataset whose prediction files are CSV without a line of names.

    That counts before ``evaluation.predict_file_format``.
    """

    writes_bare_csv: bool


@runtime_checkable
class SuitsModels(Protocol):
    """A dataset builder that stands in for the one of its name with some models alone."""

    @staticmethod
    def suits(model: type) -> bool:
        """Whether the registered class ``model`` reads the batches of this builder's datasets.

        Called as the configuration is read and as datasets are built. Models that it answers False
        for get the builder that this one has replaced.
        """
        ...
