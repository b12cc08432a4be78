"""BERT's WordPiece vocabulary: read from a file, fetched from the hub, or made from questions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from clipvil_mmf.config import ConfigError
from clipvil_mmf.sharing.repositories import HubError, Repository, explained
from clipvil_mmf.text_files import TextFileError, read_text

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL_TOKENS = (PAD, UNK, CLS, SEP, MASK)
WHERE = "processors.text_processor.params"


def train_vocabulary(questions: Iterable[str], size: int, min_frequency: int) -> list[str]:
    """Make a WordPiece vocabulary: the same questions give the same one, byte for byte.

    Every character of the questions, alone and as a continuation (``##x``), then whole words, the
    most frequent first (equals by alphabet): any later word of these characters can be spelled.
    (The trainers of ``tokenizers`` number pieces in the order of a randomly seeded hash map.)

    Args:
        questions: the training questions; their order does not matter.
        size: tokens at most; a ``ConfigError`` where the characters alone need more.
        min_frequency: of a whole word.
    """
    normalizer, splitter = BertNormalizer(), BertPreTokenizer()
    words: Counter[str] = Counter()
    for question, count in Counter(questions).items():
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(question)):
            words[word] += count
    letters = sorted({letter for word in words for letter in word})
    continuations = sorted({f"##{letter}" for word in words for letter in word[1:]})
    tokens = [*SPECIAL_TOKENS, *letters, *continuations]
    if len(tokens) > size:
        raise ConfigError(
            f"{WHERE}.vocab_size: got {size}, but the training questions use {len(letters)} "
            f"characters, which need {len(tokens)} tokens. Raise it."
        )
    frequent = sorted(
        (word for word, count in words.items() if count >= min_frequency and len(word) > 1),
        key=lambda word: (-words[word], word),
    )
    return tokens + frequent[: size - len(tokens)]


def read_tokens(file: Path) -> list[str]:
    """The lines of a vocabulary file; only line feeds end a line, other separators are tokens."""
    try:
        lines = read_text(file).split("\n")
    except TextFileError as e:
        raise ConfigError(f"{WHERE}.vocab: {e}") from e
    return [line.rstrip("\r") for line in (lines if lines[-1] else lines[:-1])]


def find_vocabulary(vocab: str, data_dir: str | None = None) -> Path:
    """The vocabulary file that a configuration names: a path, or a repository of the hub."""
    for candidate in (Path(vocab), Path(data_dir or ".", vocab)):
        if candidate.is_file():
            return candidate
        if (candidate / "vocab.txt").is_file():
            return candidate / "vocab.txt"
    if vocab.endswith(".txt") or vocab.startswith((".", "/", "~")) or vocab.count("/") > 1:
        raise ConfigError(
            f"{WHERE}.vocab: the file {vocab} does not exist (looked in the current directory and "
            f"in {data_dir}); expected a vocab.txt, the name of a hub repository, or 'train'."
        )
    # Imported here: it starts slowly, and most runs have their vocabulary at hand.
    from huggingface_hub import hf_hub_download

    try:
        with explained(Repository(vocab)):
            return Path(hf_hub_download(vocab, "vocab.txt"))
    except HubError as e:
        raise ConfigError(
            f"{WHERE}.vocab: {vocab!r} is not a file here, and vocab.txt of a hub repository of "
            f"that name could not be fetched ({e}). Without a network, fetch "
            f"https://huggingface.co/{vocab}/resolve/main/vocab.txt elsewhere and give its path."
        ) from e
