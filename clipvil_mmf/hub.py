"""Trained models for a notebook or a script: an image and a text give labels, without MMF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from clipvil_mmf.checkpoints import CheckpointError
from clipvil_mmf.checkpoints.matching import match
from clipvil_mmf.checkpoints.native import SavedModel, read_saved
from clipvil_mmf.config import from_config
from clipvil_mmf.data.images import (
    ImageParams,
    build_transform,
    decode,
    on_one_canvas,
    side_by_side,
)
from clipvil_mmf.network import ClipVilNetwork
from clipvil_mmf.preprocessing import normalize, pixel_statistics
from clipvil_mmf.tasks import Task, build_task
from clipvil_mmf.text.tokenizer import WordPieceTokenizer
from clipvil_mmf.text.vocabulary import find_vocabulary, read_tokens
from mmf_bridge.common.compiling import check_compiler, compile_model, compile_options

Picture = Image.Image | str | PathLike[str]
Answers = list[tuple[str, float]]


class Answerer:
    """A network in evaluation mode, with the classifier's rows, its tokenizer and preprocessing.

    The task says what the scores mean.
    """

    def __init__(
        self,
        network: ClipVilNetwork,
        answers: Sequence[str],
        tokenizer: WordPieceTokenizer,
        images: ImageParams,
        task: Task,
    ) -> None:
        self.network, self.task, self.answers = network, task, list(answers)
        self._tokenizer = tokenizer
        self._transform = build_transform(images)
        self._statistics = pixel_statistics(images.mean, images.std)

    def answer(
        self,
        image: Picture | Sequence[Picture] | Sequence[Sequence[Picture]],
        question: str | Sequence[str],
        top_k: int = 5,
    ) -> Answers | list[Answers]:
        """Answer one question or several.

        Args:
            image: a PIL image or a file; or a list of them, one for each question. One image
                serves all questions, and the tower runs once for it. Where the task has several
                images per sample, each of these is a list of so many images.
            question: a question, or a list; one question is asked of all images.
            top_k: answers to give, the best first; all of them if there are fewer.

        Returns:
            Pairs of a label and its score in [0, 1], as the task has it: for answers the sigmoid of
            the network's output, as the published loss trains it, which do not sum up to 1; for
            classes their probabilities, which do. For lists, such a list per question.

        Raises:
            ValueError: lists of different lengths, an empty list, a ``top_k`` below 1, or a sample
                with another number of images than the task has.
            BadImageError: a file is missing or no image.
        """
        if top_k < 1:
            raise ValueError(f"top_k: got {top_k}, expected at least 1.")
        several = self.task.images_per_sample > 1
        one_image = _is_picture(image) or (several and any(map(_is_picture, image)))
        single = isinstance(question, str) and one_image
        images = [image] if one_image else list(image)
        questions = [question] if isinstance(question, str) else list(question)
        if several:
            self._check_samples(images)
        count = max(len(images), len(questions)) if images and questions else 0
        if {len(images), len(questions)} - {1, count} or not count:
            raise ValueError(
                f"{len(images)} images and {len(questions)} questions: expected as many of both, "
                "or one of either."
            )
        asked = questions * count if len(questions) == 1 else questions
        scores = self.scores(images, [0] * count if len(images) == 1 else list(range(count)), asked)
        best, rows = self.task.probabilities(scores).topk(min(top_k, len(self.answers)))
        found = [
            [(self.answers[row], score) for row, score in zip(*pair, strict=True)]
            for pair in zip(rows.tolist(), best.tolist(), strict=True)
        ]
        return found[0] if single else found

    def _check_samples(self, samples: Sequence[Any]) -> None:
        """Raise ``ValueError`` unless each sample is as many images as the task has."""
        wanted = self.task.images_per_sample
        for sample in samples:
            count = 1 if _is_picture(sample) else len(sample)
            if count != wanted:
                raise ValueError(
                    f"{count} image{'s' * (count != 1)} for a question of the task "
                    f"{self.task.name}: expected {wanted}, in a list."
                )

    @torch.inference_mode()
    def scores(
        self,
        images: Sequence[Picture] | Sequence[Sequence[Picture]],
        image_index: Sequence[int],
        questions: Sequence[str],
    ) -> Tensor:
        """Score all answers: (B, labels) float32 on the CPU, before the sigmoid or softmax.

        Args:
            images: each distinct image once; lists of them, where a sample has several.
            image_index: of each question, its place in ``images``.
            questions: B of them.
        """
        parameter = next(self.network.parameters())
        ids, lengths = self._tokenizer(questions)
        masks = np.arange(ids.shape[1]) < lengths[:, None]
        ids, masks = (torch.from_numpy(t).long().to(parameter.device) for t in (ids, masks))
        samples = [self._read_all(sample) for sample in images]
        output = torch.empty(len(questions), len(self.answers))
        # Landscape and portrait pictures have different canvases, and a batch has one.
        for shape in dict.fromkeys(pictures[0].shape for pictures in samples):
            places = [i for i, pictures in enumerate(samples) if pictures[0].shape == shape]
            pictures = [picture for i in places for picture in samples[i]]
            pixels = on_one_canvas(pictures, len(pictures)).pixels
            statistics = self._statistics.to(parameter.device)
            batch = normalize(pixels.to(parameter.device), statistics).to(parameter)
            chosen = [row for row, image in enumerate(image_index) if image in places]
            index = torch.arange(len(pictures), device=parameter.device).view(len(places), -1)
            index = index[[places.index(image_index[row]) for row in chosen]]
            index = index if self.task.passes > 1 else index.flatten()
            texts = ids[chosen], masks[chosen], torch.zeros_like(ids[chosen])
            output[chosen] = self.network(batch, index, *texts).scores.float().cpu()
        return output

    def _read_all(self, sample: Picture | Sequence[Picture]) -> list[np.ndarray]:
        """The pictures of a sample: of its one image, of each of several, or of these joined."""
        pictures = [self._read(image) for image in ([sample] if _is_picture(sample) else sample)]
        return [*side_by_side(pictures, len(pictures) if self.task.joins_images else 1)]

    def _read(self, image: Picture) -> np.ndarray:
        if isinstance(image, Image.Image):
            return self._transform(image)
        return decode(str(Path(image)), self._transform)


def from_pretrained(
    path: str | PathLike[str],
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    compile: bool | Mapping[str, Any] = False,
) -> Answerer:
    """Load a model that answers questions about images, see :func:`clipvil_mmf.from_pretrained`."""
    options = compile_options(compile, "compile")
    saved = read_saved(Path(path))
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
    tokens = saved.tokens
    if tokens is None:
        tokens = read_tokens(find_vocabulary(description.text_vocabulary))
    if len(tokens) > network.fusion.config.vocab_size:  # of the hub; vocab.txt is checked
        raise CheckpointError(
            f"{path}: the text vocabulary has {len(tokens)} word pieces, but the network "
            f"{network.fusion.config.vocab_size}: import the checkpoint again with its --vocab."
        )
    network.to(device=device, dtype=dtype)
    if options is not None:
        check_compiler(options, torch.device(device), "compile")
        compile_model(network, options)
    return Answerer(
        network,
        saved.labels,
        WordPieceTokenizer(tokens, description.max_seq_length, str(path)),
        from_config(ImageParams, description.images, f"{path}: images"),
        task,
    )


def _is_picture(image: Any) -> bool:
    return isinstance(image, (Image.Image, str, PathLike))


def _network(sections: dict[str, Any], saved: SavedModel, path: str, passes: int) -> ClipVilNetwork:
    encoder = dict(sections["image_encoder"])
    if (encoder.get("params") or {}).get("pretrained") is not None:  # its weights are in the file
        encoder["params"] = {**encoder["params"], "pretrained": None}
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
    network.load_state_dict(found, assign=True)
    return network.eval()
