"""Trained models for a notebook or a script: an image and a text give labels, without MMF."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from clipvil_mmf.checkpoints import CheckpointError
from clipvil_mmf.checkpoints.fetched import model_path
from clipvil_mmf.checkpoints.matching import match
from clipvil_mmf.checkpoints.native import VOCABULARY, Description, SavedModel, write_saved
from clipvil_mmf.checkpoints.tuned import read_model
from clipvil_mmf.config import ConfigError, from_config
from clipvil_mmf.data.images import (
    BadImageError,
    ImageParams,
    build_transform,
    on_one_canvas,
    side_by_side,
)
from clipvil_mmf.explaining import (
    Explanation,
    Photo,
    Seen,
    cells_of,
    check_method,
    fitting_methods,
    forward_pass,
    make_explanation,
)
from clipvil_mmf.inference.batches import Batch, Sample, as_sample, in_batches, windows
from clipvil_mmf.inference.pictures import Picture, is_picture, read_picture
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.preprocessing import normalize, pixel_statistics
from clipvil_mmf.tasks import build_task
from clipvil_mmf.text.tokenizer import WordPieceTokenizer
from clipvil_mmf.text.vocabulary import find_vocabulary, read_tokens
from clipvil_mmf.vision import saved_section
from mmf_bridge.common.checkpoint_files import listed, not_finite
from mmf_bridge.common.compiling import check_compiler, compile_model, compile_options
from mmf_bridge.common.device import check_device

Answers = list[tuple[str, float]]
BATCH_SIZE = 8
_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


class Answerer:
    """A network in evaluation mode, with the classifier's rows, its tokenizer and preprocessing.

    An image is anything that :data:`clipvil_mmf.inference.pictures.Picture` lists.

    Args:
        network: on its device, in its dtype.
        description: of the network, preprocessing and task.
        answers: the rows of its head.
        tokens: the text vocabulary.
        name: where it comes from, for messages.

    Attributes:
        task: says what the scores mean.
    """

    def __init__(
        self,
        network: ClipVilNetwork,
        description: Description,
        answers: Sequence[str],
        tokens: Sequence[str],
        name: str,
    ) -> None:
        self.network, self.description, self.name = network, description, name
        self.answers, self.tokens = list(answers), list(tokens)
        self.task = build_task(description.task, f"{name}: task")
        images = from_config(ImageParams, description.images, f"{name}: images")
        self._tokenizer = WordPieceTokenizer(self.tokens, description.max_seq_length, name)
        self._transform = build_transform(images)
        self._statistics = pixel_statistics(images.mean, images.std)

    def __repr__(self) -> str:
        count = sum(parameter.numel() for parameter in self.network.parameters())
        parameter = next(self.network.parameters())
        dtype = str(parameter.dtype).removeprefix("torch.")
        return (
            f"Answerer({self.name!r}: {self.task.name}, {len(self.answers):,} answers, "
            f"{count / 1e6:.1f} M parameters, {dtype} on {parameter.device})"
        )

    def answer(
        self,
        image: Picture | Sequence[Picture] | Sequence[Sequence[Picture]],
        question: str | Sequence[str],
        top_k: int = 5,
        batch_size: int = BATCH_SIZE,
        explain: bool | str = False,
    ) -> Answers | list[Answers] | Explanation | list[Explanation]:
        """Answer one question or several.

        Args:
            image: an image; or a list of them, one for each question. One image serves all
                questions, and the tower runs once for it. Where the task has several images per
                sample, each of these is a list of so many images.
            question: a question, or a list; one question is asked of all images.
            top_k: answers to give, the best first; all of them if there are fewer.
            batch_size: questions of one pass of the network, at most.
            explain: say where the model looked: by a method of
                :data:`clipvil_mmf.explaining.METHODS`, or True for the first that fits the model.
                Questions are then answered one by one.

        Returns:
            Pairs of a label and its score in [0, 1], as the task has it: for answers the sigmoid of
            the network's output, as the published loss trains it, which do not sum up to 1; for
            classes their probabilities, which do. For lists, such a list per question. With
            ``explain`` each is an :class:`Explanation`, which holds them and the maps.

        Raises:
            ExplainError: there is no such method, or it does not fit the model.
            ValueError: lists of different lengths, an empty list, a ``top_k`` or ``batch_size``
                below 1, or a sample with another number of images than the task has.
            BadImageError: an image is missing, or is not an image.
        """
        several = self.task.images_per_sample > 1
        one_image = is_picture(image) or (several and any(map(is_picture, image)))
        images = [image] if one_image else list(image)
        questions = [question] if isinstance(question, str) else list(question)
        count = max(len(images), len(questions)) if images and questions else 0
        if {len(images), len(questions)} - {1, count} or not count:
            raise ValueError(
                f"{len(images)} images and {len(questions)} questions: expected as many of both, "
                "or one of either."
            )
        images, questions = (one * count if len(one) == 1 else one for one in (images, questions))
        samples = list(zip(images, questions, strict=True))
        if explain is False:
            found = list(self.stream(samples, top_k, batch_size))
        else:
            found = self._explained(samples, explain, top_k)
        return found[0] if isinstance(question, str) and one_image else found

    def __call__(
        self,
        samples: Iterable[tuple[Any, str] | Mapping[str, Any]],
        top_k: int = 5,
        batch_size: int = BATCH_SIZE,
        workers: int | None = None,
        return_errors: bool = False,
    ) -> list[Answers | BadImageError] | Iterator[Answers | BadImageError]:
        """Answer many questions: those of a list give a list, those of an iterator an iterator.

        See :meth:`stream`.
        """
        found = self.stream(samples, top_k, batch_size, workers, return_errors)
        return list(found) if isinstance(samples, Sequence) else found

    def stream(
        self,
        samples: Iterable[tuple[Any, str] | Mapping[str, Any]],
        top_k: int = 5,
        batch_size: int = BATCH_SIZE,
        workers: int | None = None,
        return_errors: bool = False,
    ) -> Iterator[Answers | BadImageError]:
        """Answer many questions, in batches of one canvas; the tower runs once for an image.

        Of a list, questions on one image are put together wherever they stand. An iterator is read
        8 batches ahead, and that counts among these. Images may not change until they are answered.

        Args:
            samples: pairs of an image and a question, or mappings with ``image`` and ``question``;
                where the task has several images per sample, ``image`` is a list.
            top_k: as for :meth:`answer`.
            batch_size: as for :meth:`answer`.
            workers: threads that read images; 0 for none, None for one a processor, up to 4. They
                change no answer.
            return_errors: give the ``BadImageError`` in the place of the answers for images that
                cannot be read, instead of raising it.

        Yields:
            What :meth:`answer` gives for a question, in the order of the samples.

        Raises:
            ValueError: a sample is none, or a number is out of its range.
            BadImageError: see ``return_errors``.
        """
        for name, value, least in (
            ("top_k", top_k, 1),
            ("batch_size", batch_size, 1),
            ("workers", workers, 0),
        ):
            if value is not None and value < least:
                raise ValueError(f"{name}: got {value}, expected at least {least}.")
        if isinstance(samples, (str, Mapping)):
            raise ValueError(
                f"samples: got a {type(samples).__name__}, expected a list of samples."
            )
        return self._stream(samples, top_k, batch_size, workers, return_errors)

    def _stream(
        self,
        samples: Iterable[Any],
        top_k: int,
        batch_size: int,
        workers: int | None,
        return_errors: bool,
    ) -> Iterator[Answers | BadImageError]:
        def best(scores: Tensor) -> list[Answers]:
            return self._best(scores, top_k)

        numbered = enumerate(samples)
        checked = (as_sample(one, self.task, f"sample {number}: ") for number, one in numbered)
        is_list = isinstance(samples, Sequence)
        for part in [list(checked)] if is_list else windows(checked, batch_size):
            for found in self._in_batches(part, best, batch_size, workers):
                if isinstance(found, BadImageError) and not return_errors:
                    raise found
                yield found

    def look(self, image: Picture | Sequence[Picture]) -> Seen:
        """Encode an image, or those of a question, for :meth:`explain`: the tower runs here alone.

        Raises:
            BadImageError: an image is missing, or is not an image.
            ValueError: another number of images than the task has.
        """
        images = as_sample((image, ""), self.task).images
        photos, pictures = [], []
        for one in images:
            picture, photo = read_picture(one, lambda i: (self._transform(i), self._photo(i)))
            pictures.append(picture)
            photos.append(photo)
        joined = len(pictures) if self.task.joins_images else 1
        canvas = pictures[0].shape[1:]
        device = next(self.network.parameters()).device
        with torch.no_grad(), self.network.tuning.backbone_precision(device):
            grid = self.network.image_encoder(self._inputs([*side_by_side(pictures, joined)]))
        return Seen(tuple(photos), canvas, grid, _covered(self.network, grid, canvas, joined))

    @torch.inference_mode(False)
    def explain(
        self,
        seen: Seen | Picture | Sequence[Picture],
        question: str,
        method: str | None = None,
        label: str | None = None,
        top_k: int = 5,
    ) -> Explanation:
        """Answer a question, and say where the model looked.

        Args:
            seen: what :meth:`look` gave, or the image or images of the question.
            question: a question.
            method: of :data:`clipvil_mmf.explaining.METHODS`; None for the first that fits.
            label: the answer to explain; None for the best.
            top_k: as for :meth:`answer`.

        Raises:
            ExplainError: there is no such method, or it does not fit the model.
            ValueError: there is no such label; and what :meth:`look` raises.
        """
        if method is not None:
            check_method(method)
        if label is not None and label not in self.answers:
            raise ValueError(f"{label!r} is not among the {len(self.answers):,} answers.")
        seen = seen if isinstance(seen, Seen) else self.look(seen)
        row = None if label is None else self.answers.index(label)
        forward, scores = forward_pass(self.network, seen, self.texts(question), row)
        words = self._tokenizer.words(question)
        (answers,) = self._best(scores[None].float().cpu(), top_k)
        label = answers[0][0] if label is None else label
        method, cells = cells_of(forward, method)
        return make_explanation(cells, seen, words, answers, method, label)

    @functools.cached_property
    def methods(self) -> tuple[str, ...]:
        """The methods of maps that fit this model, found out on a blank image."""
        blank = [Image.new("RGB", (32, 32))] * self.task.images_per_sample
        seen = self.look(blank if len(blank) > 1 else blank[0])
        return fitting_methods(forward_pass(self.network, seen, self.texts("what?"), None)[0])

    def tokenizer_json(self) -> str:
        """Its tokenizer, as the library ``tokenizers`` reads it."""
        return self._tokenizer.standalone_json()

    def texts(self, question: str) -> tuple[Tensor, Tensor, Tensor]:
        """Ids, mask and segments of a question as the network takes them: (1, T) int64 each."""
        ids, lengths = self._tokenizer([question])
        ids = torch.from_numpy(ids[:, : lengths[0]]).long()
        ids = ids.to(next(self.network.parameters()).device)
        return ids, torch.ones_like(ids), torch.zeros_like(ids)

    def _explained(self, samples: list[Any], explain: bool | str, top_k: int) -> list[Explanation]:
        """The samples one by one; those that follow one another on an image encode it once."""
        method = None if explain is True else explain
        key, seen, found = None, None, []
        for image, question in samples:
            sample = as_sample((image, question), self.task)
            if seen is None or sample.key != key:
                key, seen = sample.key, self.look(image)
            found.append(self.explain(seen, question, method, top_k=top_k))
        return found

    def _photo(self, image: Image.Image) -> Photo:
        photo = self._transform.photo(image)
        return Photo(photo, self._transform.place(*photo.size))

    def scores(
        self,
        images: Sequence[Picture] | Sequence[Sequence[Picture]],
        image_index: Sequence[int],
        questions: Sequence[str],
        batch_size: int = BATCH_SIZE,
    ) -> Tensor:
        """Score all answers: (B, labels) float32 on the CPU, before the sigmoid or softmax.

        Args:
            images: each distinct image once; lists of them, where a sample has several.
            image_index: of each question, its place in ``images``.
            questions: B of them.
            batch_size: as for :meth:`answer`.
        """
        pairs = zip(image_index, questions, strict=True)
        samples = [as_sample((images[place], question), self.task) for place, question in pairs]
        rows = []
        for found in self._in_batches(samples, list, batch_size):
            if isinstance(found, BadImageError):
                raise found
            rows.append(found)
        return torch.stack(rows)

    def read(self, image: Picture | Sequence[Picture]) -> list[np.ndarray]:
        """The pictures of an image, or of those of a question, for :meth:`answer_read`.

        Raises:
            BadImageError: an image is missing, or is not an image.
            ValueError: another number of images than the task has.
        """
        return self._read(as_sample((image, ""), self.task).images)

    def answer_read(
        self,
        pictures: Mapping[bytes, Sequence[np.ndarray]],
        asked: Sequence[tuple[bytes, str]],
        top_k: int = 5,
        batch_size: int = BATCH_SIZE,
    ) -> list[Answers]:
        """Answer questions on what :meth:`read` gave; each is a key of ``pictures`` and a text."""
        samples = [Sample((key,), question) for key, question in asked]

        def answered(batch: Batch) -> list[Answers]:
            questions = [samples[row].question for row in batch.rows]
            return self._best(self._batch_scores(batch, questions, batch_size), top_k)

        return list(
            in_batches(samples, lambda keys: pictures[keys[0]], answered, batch_size, workers=0)
        )

    def save_pretrained(self, folder: str | PathLike[str]) -> None:
        """Write the model into a new folder, which :func:`clipvil_mmf.from_pretrained` reads.

        The numbers are of the network's dtype. Tensors that the network has no use for, which
        ``clipvil import`` keeps for an export, are not written.

        Raises:
            WeightFileError: the folder exists, or it could not be written.
        """
        self.description.text_vocabulary = VOCABULARY
        state = self.network.state_dict()
        write_saved(
            SavedModel(self.description, state, labels=self.answers, tokens=self.tokens), folder
        )

    def _in_batches(
        self,
        samples: Sequence[Sample],
        results: Any,
        batch_size: int,
        workers: int | None = None,
    ) -> Iterator[Any]:
        """What ``results`` makes of the scores (n, labels) of a batch: one for each question."""

        def answered(batch: Batch) -> Any:
            questions = [samples[row].question for row in batch.rows]
            return results(self._batch_scores(batch, questions, batch_size))

        return in_batches(samples, self._read, answered, batch_size, workers)

    def _best(self, scores: Tensor, top_k: int) -> list[Answers]:
        """The best answers of each question, of scores (n, labels)."""
        found = self.task.probabilities(scores).topk(min(top_k, len(self.answers)))
        pairs = zip(found.indices.tolist(), found.values.tolist(), strict=True)
        return [[(self.answers[row], s) for row, s in zip(*p, strict=True)] for p in pairs]

    def _inputs(self, pictures: Sequence[np.ndarray]) -> Tensor:
        """What the image encoder takes of pictures, on the network's device."""
        parameter = next(self.network.parameters())
        batch = on_one_canvas(pictures, len(pictures))
        statistics = self._statistics.to(parameter.device)
        return normalize(batch.pixels.to(parameter.device), statistics, batch.sizes).to(parameter)

    def _read(self, images: Sequence[Picture]) -> list[np.ndarray]:
        """The pictures of a sample: of its one image, of each of several, or of these joined."""
        pictures = [read_picture(image, self._transform) for image in images]
        return [*side_by_side(pictures, len(pictures) if self.task.joins_images else 1)]

    @torch.inference_mode()
    def _batch_scores(self, batch: Batch, questions: Sequence[str], batch_size: int) -> Tensor:
        """(n, labels) float32 on the CPU."""
        parameter = next(self.network.parameters())
        images: Any = self._inputs(batch.pictures)
        if len(questions) > batch_size:  # on one image, whose tokens serve all of them
            with self.network.tuning.backbone_precision(parameter.device):
                images = self.network.encode_visual(images)
        index = torch.arange(len(batch.pictures)).view(-1, self.task.passes)[batch.index]
        index = index if self.task.passes > 1 else index.flatten()
        ids, lengths = self._tokenizer(questions)
        masks = np.arange(ids.shape[1]) < lengths[:, None]
        ids, masks = (torch.from_numpy(part).long() for part in (ids, masks))
        texts = (index, ids, masks, torch.zeros_like(ids))
        parts = zip(*(part.to(parameter.device).split(batch_size) for part in texts), strict=True)
        return torch.cat([self.network(images, *part).scores.float().cpu() for part in parts])


def from_pretrained(
    path: str | PathLike[str],
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype = torch.float32,
    backbone: str | PathLike[str] | Sequence[str | PathLike[str]] | None = None,
    compile: bool | Mapping[str, Any] = False,
    revision: str | None = None,
) -> Answerer:
    """Load a model that answers questions about images, see :func:`clipvil_mmf.from_pretrained`."""
    options = compile_options(compile, "compile")
    device, dtype = _device(device), _dtype(dtype)
    saved = read_model(model_path(path, revision), backbone)
    description = saved.description
    if "classifier" not in description.network:
        raise CheckpointError(
            f"{path} holds a {description.layout['kind']} model alone, which answers nothing."
        )
    if saved.labels is None:
        raise CheckpointError(
            f"{path} has no answers.json: import the checkpoint again with --answers FILE, the "
            "answers in the order of the classifier's rows (LXMERT's trainval_label2ans.json)."
        )
    task = build_task(description.task, f"{path}: task")
    network = _network(description.network, saved, str(path), task.passes)
    tokens = saved.tokens or _tokens_by_name(description.text_vocabulary, path)
    if len(tokens) > network.fusion.config.vocab_size:  # of the hub; vocab.txt is checked
        raise CheckpointError(
            f"{path}: the text vocabulary has {len(tokens)} word pieces, but the network "
            f"{network.fusion.config.vocab_size}: import the checkpoint again with its --vocab."
        )
    network = network.to(device=device, dtype=dtype)
    if options is not None:
        check_compiler(options, device, "compile")
        compile_model(network, options)
    return Answerer(network, description, saved.labels, tokens, str(path))


def _covered(
    network: ClipVilNetwork, grid: Tensor, canvas: tuple[int, int], joined: int
) -> tuple[int, int]:
    """The height and width in pixels that a grid (P, C, h, w) stands for.

    Cells that are not whole may have been dropped, see ``partial_cells``.
    """
    stride = getattr(network.image_encoder, "stride", None)
    if stride is None:
        return canvas[0], canvas[1] * joined
    return grid.shape[2] * stride, grid.shape[3] * stride


def _device(device: str | torch.device) -> torch.device:
    """The device of that name, if this machine has it; a ``ValueError`` else."""
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device: got {device!r}, expected cpu, cuda, cuda:1 ...") from error
    if found.type == "cuda":
        check_device(str(found), "device")
    try:
        torch.zeros((), device=found).item()
    # What torch was built without, and `meta`, which computes nothing.
    except (AssertionError, ImportError, RuntimeError) as error:
        raise ValueError(f"device: got {device!r}, which this machine does not have.") from error
    return found


def _dtype(dtype: str | torch.dtype) -> torch.dtype:
    """The dtype of that name; a ``ValueError`` else."""
    found = dtype
    if isinstance(dtype, str):
        found = getattr(torch, _DTYPES.get(dtype, dtype), None)
    if found not in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        raise ValueError(f"dtype: got {dtype!r}, expected float32, bfloat16 or float16.")
    return found


def _tokens_by_name(name: str, path: str | PathLike[str]) -> list[str]:
    try:
        return read_tokens(find_vocabulary(name))
    except ConfigError as error:
        raise CheckpointError(
            f"{path} names its text vocabulary, {name!r}, which is neither here nor could be "
            f"fetched. Fetch https://huggingface.co/{name}/resolve/main/{VOCABULARY} elsewhere and "
            f"import the checkpoint again with --vocab FILE."
        ) from error


def _network(sections: dict[str, Any], saved: SavedModel, path: str, passes: int) -> ClipVilNetwork:
    encoder = saved_section(sections["image_encoder"])
    with torch.device("meta"):
        network = ClipVilNetwork.from_config(
            **{**sections, "image_encoder": encoder}, where=f"{path}: network", passes=passes
        )
    if "images" not in network.image_encoder.batch_fields:
        raise CheckpointError(
            f"{path} takes features from files ({encoder['type']}), not images: run it with "
            "mmf_predict."
        )
    found, _ = match(network.state_dict(), saved.source, file=f"{path}: the file of weights")
    for name, _ in network.named_parameters():
        if not found[name].is_floating_point():
            raise CheckpointError(
                f"{path}: the file of weights has {name} as {found[name].dtype}; expected floating "
                "point numbers. Fetch or import the checkpoint again."
            )
    bad = not_finite(found)
    if bad:
        raise CheckpointError(
            f"{path}: {listed(bad, 1)} of the weights hold NaN or infinity. Fetch or train the "
            "model again."
        )
    network.load_state_dict(found, assign=True)
    return network.eval()
