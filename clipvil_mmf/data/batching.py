"""Which questions form a batch: all of an image together, each exactly once, on every rank.

The published batch sampler fills incomplete batches with repeats and skips questions in
validation; this one does neither.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np
from torch.utils.data import Sampler


def aspect_groups(
    sizes: np.ndarray, is_portrait: Callable[[int, int], bool] = operator.le, factor: int = 0
) -> np.ndarray:
    """Groups of images by height / width, as CLIP-ViL tells them apart.

    With the factor 0 they are landscape images, and portrait and square ones; with a factor k each
    of these two is cut at the ratios 2^(i/k) between 1/2 and 2 (k = 5 in pre-training).

    Args:
        sizes: (I, 2) width and height; zeros (not known) count as landscape, the canvas of the
            picture that stands for a bad image.
        is_portrait: of the images' transform, so that the pictures of a group have one canvas.
        factor: k.

    Returns:
        (I,) int8: 0 to k the landscape ones, k + 1 to 2k + 1 the others, the widest first.
    """
    kinds, rows = np.unique(sizes, axis=0, return_inverse=True)
    borders = 2.0 ** (np.arange(-factor, factor + 1) / max(factor, 1))
    groups = []
    for width, height in kinds.tolist():
        ratio = height / width if height > 0 else 0.75
        portrait = height > 0 and is_portrait(width, height)
        # The transform decides about images that are nearly square.
        ratio = max(ratio, 1.0) if portrait else min(ratio, np.nextafter(1.0, 0.0))
        groups.append(np.searchsorted(borders, ratio, side="right"))
    return np.asarray(groups, dtype=np.int8)[rows.reshape(-1)]


class EpochIndices:
    """The batches of a sampler, with the epoch in their indices.

    Sample i of N is ``epoch * N + i``: so a dataset whose samples differ between epochs knows which
    one is asked for, in whichever worker it is.

    Args:
        batches: the sampler of lists of indices below ``count``.
        count: N.
    """

    def __init__(self, batches: QuestionBatchSampler, count: int) -> None:
        self._batches, self._count, self._epoch = batches, count, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order, and the epoch, of the next iteration."""
        self._epoch = epoch
        self._batches.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[int]]:
        start = self._epoch * self._count
        return ([start + index for index in batch] for batch in self._batches)

    def __len__(self) -> int:
        return len(self._batches)


class QuestionBatchSampler(Sampler[list[int]]):
    """Batches of question indices of one rank; over all ranks every question once an epoch.

    Shuffled (training): questions are put in a new order each epoch, cut into global batches, and
    each is dealt over the ranks in contiguous parts whose sizes differ by one at most. All ranks
    get the same number of batches, none of them empty: a last batch with fewer questions than
    ranks joins the one before. With ``group_by_image`` the order is one of images, each with all
    its questions (in random order): at most one image is cut at the border between two parts.

    Not shuffled (evaluation): each rank takes a contiguous part of the questions, in batches of
    ``ceil(batch_size / world_size)``. Ranks may have different numbers of batches, even none.
    With ``group_by_image`` the order is that of the images and no image is cut, unless it alone
    has more questions than a batch.

    With ``groups`` all this goes for the questions of each group, so that no batch mixes groups;
    in training the batches of all groups then come in random order. Only a group with fewer
    questions than ranks shares its batch with the group before it.

    The order is a function of ``(seed, epoch)`` alone.

    Args:
        images: (N,) integers, the image of each question.
        batch_size: size of the global batch, over all ranks.
        shuffle: for training; ``seed`` decides the order.
        rank: of this process, among ``world_size``.
        group_by_image: keep the questions of an image together.
        groups: (N,) integers, the group of each question; the same for all of an image.

    Raises:
        ValueError: an argument out of range, or fewer questions than ranks when shuffling.
    """

    def __init__(
        self,
        images: np.ndarray,
        batch_size: int,
        *,
        shuffle: bool,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        group_by_image: bool = True,
        groups: np.ndarray | None = None,
    ) -> None:
        if batch_size < world_size:
            raise ValueError(
                f"training.batch_size is {batch_size}, for {world_size} processes; expected at "
                "least one question for each. Raise it"
            )
        if not 0 <= rank < world_size:
            raise ValueError(f"rank is {rank}; expected 0 to {world_size - 1}")
        if seed < 0:
            raise ValueError(f"seed is {seed}; expected 0 or more")
        if shuffle and len(images) < world_size:
            raise ValueError(
                f"{len(images)} questions cannot be dealt over {world_size} processes. Use fewer"
            )
        self._batch_size, self._rank, self._world_size = batch_size, rank, world_size
        self._seed, self._epoch = seed, 0
        self._grouped = group_by_image
        self._count = len(images)
        self._groups = groups if groups is not None and len(np.unique(groups)) > 1 else None
        # The number of each question's image, from 0 on, and how many questions each image has.
        _, self._images, self._sizes = np.unique(images, return_inverse=True, return_counts=True)
        self._borders = self._training_borders() if shuffle else []
        self._fixed = None if shuffle else self._evaluation_batches()

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        if self._fixed is not None:
            yield from self._fixed
            return
        random = np.random.Generator(np.random.PCG64([self._seed, self._epoch]))
        order = self._training_order(random)
        batches = list(pairwise(self._borders))
        if self._groups is not None:
            order = order[np.argsort(self._groups[order], kind="stable")]
            batches = [batches[i] for i in random.permutation(len(batches))]
        for start, end in batches:
            size = end - start
            first = start + size * self._rank // self._world_size
            last = start + size * (self._rank + 1) // self._world_size
            yield order[first:last].tolist()

    def __len__(self) -> int:
        return len(self._borders) - 1 if self._fixed is None else len(self._fixed)

    def _training_order(self, random: np.random.Generator) -> np.ndarray:
        """(N,) all questions in the order of this epoch."""
        order = random.permutation(self._count)
        if not self._grouped:
            return order
        places = np.argsort(random.permutation(len(self._sizes)))
        # A stable sort by the image's place keeps the random order of the image's questions.
        return order[np.argsort(places[self._images[order]], kind="stable")]

    def _training_borders(self) -> list[int]:
        """Where global batches begin and end in the order of an epoch, group after group."""
        borders = [0]
        sizes = [self._count]
        if self._groups is not None:
            sizes = np.unique(self._groups, return_counts=True)[1].tolist()
        for size in sizes:
            first, end = borders[-1], borders[-1] + size
            borders += [*range(first + self._batch_size, end, self._batch_size), end]
            if len(borders) > 2 and borders[-1] - borders[-2] < self._world_size:
                del borders[-2]
        # A first group that is too small has no batch before it: it joins the one after.
        if len(borders) > 2 and borders[1] < self._world_size:
            del borders[1]
        return borders

    def _evaluation_batches(self) -> list[list[int]]:
        """This rank's batches, group after group."""
        order, sizes = np.arange(self._count), np.ones(self._count, np.int64)
        if self._grouped:
            order, sizes = np.argsort(self._images, kind="stable"), self._sizes
        starts = np.cumsum(sizes) - sizes
        groups = np.zeros(self._count, np.int8) if self._groups is None else self._groups
        batches = []
        for group in np.unique(groups):
            runs = np.cumsum([0, *sizes[groups[order[starts]] == group]])
            batches += self._batches_of(order[groups[order] == group], runs.tolist())
        return batches

    def _batches_of(self, order: np.ndarray, runs: list[int]) -> list[list[int]]:
        """This rank's batches of the (M,) questions in ``order``.

        ``runs`` are the places where each run of questions that stay together begins, and M.
        """
        share = -(-self._batch_size // self._world_size)
        cuts = np.searchsorted(
            runs, [len(order) * r // self._world_size for r in range(self._world_size + 1)]
        )
        mine = runs[cuts[self._rank] : cuts[self._rank + 1] + 1]
        ends = [mine[0]]
        for begin, end in pairwise(mine):
            if end - ends[-1] > share and begin > ends[-1]:
                ends.append(begin)
            # An image with more questions than a batch takes.
            ends += range(ends[-1] + share, end, share)
        batches = pairwise([*ends, mine[-1]])
        return [order[start:end].tolist() for start, end in batches if start < end]
