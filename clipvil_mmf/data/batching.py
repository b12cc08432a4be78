"""Which questions form a batch: all of an image together, each exactly once, on every rank.

The published batch sampler fills incomplete batches with repeats and skips questions in
validation; this one does neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from torch.utils.data import Sampler


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

    The order is a function of ``(seed, epoch)`` alone.

    Args:
        images: (N,) integers, the image of each question.
        batch_size: size of the global batch, over all ranks.
        shuffle: as above.
        seed: not negative.
        rank: of this process.
        world_size: number of processes.
        group_by_image: keep the questions of an image together.

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
        self._batch_size = batch_size
        self._shuffle = shuffle
        self._seed = seed
        self._rank = rank
        self._world_size = world_size
        self._grouped = group_by_image
        self._epoch = 0
        self._count = len(images)
        # Questions sorted by image (stable), and where each image's run of questions starts.
        self._by_image = np.argsort(images, kind="stable")
        _, self._starts = np.unique(images[self._by_image], return_index=True)
        self._fixed = None if shuffle else self._evaluation_batches()

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration."""
        self._epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        if self._fixed is not None:
            yield from self._fixed
            return
        order = self._training_order()
        borders = self._training_borders()
        for start, end in pairwise(borders):
            size = end - start
            first = start + size * self._rank // self._world_size
            last = start + size * (self._rank + 1) // self._world_size
            yield order[first:last].tolist()

    def __len__(self) -> int:
        if self._fixed is not None:
            return len(self._fixed)
        return len(self._training_borders()) - 1

    def _training_order(self) -> np.ndarray:
        """(N,) all questions in the order of this epoch."""
        random = np.random.Generator(np.random.PCG64([self._seed, self._epoch]))
        order = random.permutation(self._count)
        if not self._grouped:
            return order
        position = np.empty(len(self._starts), dtype=np.int64)
        position[random.permutation(len(self._starts))] = np.arange(len(self._starts))
        sizes = np.diff(self._starts, append=self._count)
        place = np.empty(self._count, dtype=np.int64)
        place[self._by_image] = np.repeat(position, sizes)
        # A stable sort by the image's place keeps the random order of the image's questions.
        return order[np.argsort(place[order], kind="stable")]

    def _training_borders(self) -> list[int]:
        borders = [*range(0, self._count, self._batch_size), self._count]
        if len(borders) > 2 and borders[-1] - borders[-2] < self._world_size:
            del borders[-2]
        return borders

    def _evaluation_batches(self) -> list[list[int]]:
        """This rank's batches, from runs of questions that stay together."""
        if self._grouped:
            order = self._by_image
            runs = [*self._starts.tolist(), self._count]
        else:
            order = np.arange(self._count)
            runs = list(range(self._count + 1))
        share = -(-self._batch_size // self._world_size)
        cuts = np.searchsorted(
            runs, [self._count * r // self._world_size for r in range(self._world_size + 1)]
        )
        mine = runs[cuts[self._rank] : cuts[self._rank + 1] + 1]
        batches: list[list[int]] = []
        start = end = mine[0]
        for border in mine[1:]:
            if border - start > share and end > start:
                batches.append(order[start:end].tolist())
                start = end
            end = border
            while end - start > share:  # an image with more questions than a batch takes
                batches.append(order[start : start + share].tolist())
                start += share
        if end > start:
            batches.append(order[start:end].tolist())
        return batches
