"""Word vectors of GloVe and fastText, read from the files that their authors publish.

Stands in for torchtext too, which does not load beside today's torch.
"""

from __future__ import annotations

import gzip
import hashlib
import os
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from mmf_bridge.common.locking import locked
from mmf_bridge.common.replace import replace
from mmf_bridge.common.whole_files import replacing

vocab = None  # `from torchtext import vocab`: the classes that use it are replaced below

# What the files of fastText are called; GloVe's are called as MMF calls them.
_FASTTEXT = {"fasttext.en.300d": "wiki.en", "fasttext.simple.300d": "wiki.simple"}
_ENDINGS = (".txt", ".txt.gz", ".vec", ".vec.gz")


def patch(module: ModuleType) -> None:
    """Vocabularies of ``mmf.utils.vocab``: vectors from files, random ones drawn."""
    stock_init = module.BaseVocab.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        """Draw the vectors as ``torch.nn.Embedding`` does; stock MMF leaves what memory holds."""
        stock_init(self, *args, **kwargs)
        if type(self) is module.BaseVocab:
            torch.nn.init.normal_(self.vectors)

    class IntersectedVocab(module.BaseVocab):
        """The words of a file, one a line, with the vectors that GloVe or fastText has for them."""

        def __init__(self, vocab_file: str, embedding_name: str, *args: Any, **kwargs: Any) -> None:
            super().__init__(vocab_file, *args, **kwargs)
            self.type = "intersected"
            words, vectors = word_vectors(embedding_name, module.get_mmf_cache_dir())
            self.embedding_dim = vectors.shape[1]
            own = [self.itos[index] for index in range(self.total_predefined, self.get_size())]
            rows = torch.tensor([words.get(word, -1) for word in own], dtype=torch.long)
            if own and not (rows >= 0).any():
                raise ValueError(
                    f"Word vectors {embedding_name}: it has none of the {len(own)} words of "
                    f"{vocab_file}. Is it of another language, or written in capitals?"
                )
            special = _of_special_tokens(self)
            self.vectors = torch.cat([special, special[self.UNK_INDEX].repeat(len(own), 1)])
            self.vectors[self.total_predefined :][rows >= 0] = vectors[rows[rows >= 0]]

        def get_embedding_dim(self) -> int:
            """The width of the vectors."""
            return self.embedding_dim

    class PretrainedVocab(module.BaseVocab):
        """All words of GloVe or fastText."""

        def __init__(self, embedding_name: str, *args: Any, **kwargs: Any) -> None:
            super().__init__()  # the special tokens
            self.type = "pretrained"
            words, vectors = word_vectors(embedding_name, module.get_mmf_cache_dir())
            self.embedding_dim = vectors.shape[1]
            self.stoi = defaultdict(self.get_unk_index, self.stoi)
            for index, word in enumerate(words, start=self.total_predefined):
                self.itos[index] = word
                self.stoi[word] = index
            self.word_dict = dict(self.stoi)
            rows = torch.tensor(list(words.values()), dtype=torch.long)
            self.vectors = torch.cat([_of_special_tokens(self), vectors[rows]])

    stock_embedding = module.BaseVocab.get_embedding

    def get_embedding(self: Any, cls: type, **kwargs: Any) -> torch.nn.Module:
        """An embedding that starts from the vectors.

        Raises:
            ValueError: they have another width than the model's ``embedding_dim``, which stock MMF
                ends in a TypeError.
        """
        width, expected = self.vectors.shape[1], kwargs["embedding_dim"]
        if width != expected:
            raise ValueError(
                f"The word vectors of the vocabulary have {width} numbers, and the model's text "
                f"embedding has embedding_dim {expected}: give it embedding_dim {width}, or name "
                f"vectors of {expected} numbers"
            )
        return stock_embedding(self, cls, **kwargs)

    module.BaseVocab.__init__ = init
    module.BaseVocab.get_embedding = get_embedding
    replace(module, IntersectedVocab, PretrainedVocab)


def word_vectors(name: str, cache: str | os.PathLike[str]) -> tuple[dict[str, int], torch.Tensor]:
    """Read word vectors, at the first time from their text, later from a copy in the cache.

    Args:
        name: a file, text or gzip, with a word and its numbers on each line; or the name of one in
            the cache folder, as ``glove.6B.300d`` or ``fasttext.en.300d``.
        cache: MMF's ``env.cache_dir``.

    Returns:
        Each word with its row, and the vectors ``(words, width)`` float32, mapped into memory.

    Raises:
        FileNotFoundError: no file of that name.
        ValueError: a line of it that cannot be read.
    """
    path = _find(name, Path(cache))
    stat = path.stat()
    key = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns}"
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    copy = Path(cache, "word_vectors", f"{path.name}-{digest}.safetensors")
    with locked(copy.parent, f"{copy.name}.lock"):
        if not copy.exists():
            words, vectors = read_text(path)
            text = np.frombuffer("\n".join(words).encode(), dtype=np.uint8)
            with replacing(copy) as partial:
                save_file({"words": text, "vectors": vectors}, partial)
    with safe_open(copy, framework="pt") as file:
        words = bytes(file.get_tensor("words").numpy()).decode().split("\n")
        return {word: row for row, word in enumerate(words)}, file.get_tensor("vectors")


def read_text(path: Path) -> tuple[list[str], np.ndarray]:
    """Read the words of a file, and their vectors ``(words, width)`` float32.

    A word may hold spaces itself. fastText's first line, the number of words and the width, is
    skipped.

    Raises:
        ValueError: names the file and the line that is not a word with as many numbers as the first
            has, or is not UTF-8.
    """
    words, vectors, width, number, stated = [], [], None, 0, None
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                fields = line.rstrip().split(" ")
                if number == 1 and len(fields) == 2 and all(field.isdigit() for field in fields):
                    stated = int(fields[0])
                    continue
                width = width or len(fields) - 1
                vector = np.array(fields[len(fields) - width :], dtype=np.float32)
                if len(fields) <= width or width == 0 or not np.isfinite(vector).all():
                    raise ValueError
                words.append(" ".join(fields[:-width]))
                vectors.append(vector)
    except (ValueError, EOFError, gzip.BadGzipFile) as error:  # ValueError: not UTF-8, too
        number += isinstance(error, (UnicodeError, EOFError, gzip.BadGzipFile))
        raise ValueError(
            f"Word vectors {path}, line {number}: is not a word with {width or 'its'} numbers, "
            "separated by single spaces, in UTF-8. Fetch the file anew, or remove the line."
        ) from error
    if not words:
        raise ValueError(f"Word vectors {path}: the file has no words.")
    if stated not in (None, len(words)):
        raise ValueError(
            f"Word vectors {path}: the first line says {stated} words, and there are {len(words)}. "
            "The file was cut short: fetch it anew."
        )
    return words, np.stack(vectors)


def _find(name: str, cache: Path) -> Path:
    path = Path(name).expanduser()
    if path.is_file():
        return path
    file = _FASTTEXT.get(name, name)
    places = [cache / f"{file}{ending}" for ending in _ENDINGS]
    for place in places:
        if place.is_file():
            return place
    raise FileNotFoundError(
        f"Word vectors {name}: there is neither a file of this name nor one of "
        f"{', '.join(place.name for place in places)} in {cache} (env.cache_dir). Put the text "
        "of GloVe (https://nlp.stanford.edu/projects/glove) or fastText (https://fasttext.cc) "
        "there, plain or gzip, or name it in embedding_name. vocab.type=random draws random ones."
    )


def _of_special_tokens(vocabulary: Any) -> torch.Tensor:
    """MMF's vectors of padding, start, end and the unknown word: ``(4, width)``."""
    rows = torch.arange(vocabulary.total_predefined)[:, None] * 0.1
    return rows.expand(-1, vocabulary.embedding_dim).clone()
