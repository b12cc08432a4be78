"""BERT's uncased WordPiece on the ``tokenizers`` library."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

from clipvil_mmf.config import ConfigError
from clipvil_mmf.text.vocabulary import CLS, PAD, SEP, SPECIAL_TOKENS, UNK

# The library's threads and the forks of data loader workers do not mix: it would warn at each
# fork. Questions are tokenised once, so one thread is fast enough.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


class WordPieceTokenizer:
    """Question strings -> ids of ``[CLS] pieces [SEP]``: lower case, accents stripped, cut.

    Args:
        tokens: the vocabulary; the token of id i is ``tokens[i]``, [PAD] is the first.
        max_seq_length: pieces of a question and the two tokens around them, at most.
        source: of the vocabulary, for the ``ConfigError`` that it is not one of BERT's.
    """

    def __init__(self, tokens: Sequence[str], max_seq_length: int, source: str) -> None:
        if max_seq_length < 2:
            raise ConfigError(
                f"{source}: max_seq_length: got {max_seq_length}, expected at least 2, [CLS] and "
                "[SEP]."
            )
        rows = {token: row for row, token in enumerate(tokens)}
        missing = [token for token in (PAD, UNK, CLS, SEP) if token not in rows]
        reason = ""
        if missing:
            reason = f"it lacks {', '.join(missing)}"
        elif rows[PAD] != 0:
            reason = "its first token is not [PAD]"
        elif len(rows) < len(tokens):
            reason = "a token occurs twice"
        if reason:
            raise ConfigError(
                f"{source} is not a BERT vocabulary: {reason}. Expected one token a line, "
                "[PAD] first."
            )
        self.tokens = list(tokens)
        self.max_seq_length = max_seq_length
        self._tokenizer = Tokenizer(WordPiece(rows, unk_token=UNK, max_input_chars_per_word=100))
        self._tokenizer.normalizer = BertNormalizer(lowercase=True, strip_accents=True)
        self._tokenizer.pre_tokenizer = BertPreTokenizer()
        self._tokenizer.add_special_tokens([token for token in SPECIAL_TOKENS if token in rows])

    def __call__(self, questions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Tokenise N questions.

        Returns:
            ids (N, max_seq_length) int32, padded with [PAD]; lengths (N,) int32.
        """
        longest = self.max_seq_length
        ids = np.full((len(questions), longest), self._id(PAD), dtype=np.int32)
        lengths = np.empty(len(questions), dtype=np.int32)
        ids[:, 0] = self._id(CLS)
        encodings = self._tokenizer.encode_batch(list(questions), add_special_tokens=False)
        for row, encoding in enumerate(encodings):
            pieces = encoding.ids[: longest - 2]
            ids[row, 1 : len(pieces) + 1] = pieces
            lengths[row] = len(pieces) + 2
        ids[np.arange(len(questions)), lengths - 1] = self._id(SEP)
        return ids, lengths

    def words(self, question: str) -> list[tuple[str, range]]:
        """The words of a question as they are written, and the places of each one's pieces.

        Places count from [CLS], which is 0; words that are cut are left out.
        """
        encoding = self._tokenizer.encode(question, add_special_tokens=False)
        count = min(len(encoding.ids), self.max_seq_length - 2)
        found: list[tuple[str, range]] = []
        for place in range(count):
            is_new = not place or encoding.word_ids[place] != encoding.word_ids[place - 1]
            first = place if is_new else found.pop()[1].start - 1
            text = question[encoding.offsets[first][0] : encoding.offsets[place][1]]
            found.append((text, range(first + 1, place + 2)))
        return found

    def standalone_json(self) -> str:
        """A ``tokenizer.json`` that cuts, adds [CLS] and [SEP] and pads by itself."""
        copy = Tokenizer.from_str(self._tokenizer.to_str())
        special = [(token, self._id(token)) for token in (CLS, SEP)]
        copy.post_processor = TemplateProcessing(single=f"{CLS} $A {SEP}", special_tokens=special)
        copy.enable_truncation(self.max_seq_length)
        copy.enable_padding(pad_id=self._id(PAD), pad_token=PAD)
        return copy.to_str()

    def _id(self, token: str) -> int:
        return self._tokenizer.token_to_id(token)
