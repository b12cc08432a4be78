from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from clipvil_mmf.config import ConfigError
from clipvil_mmf.text.vocabulary import (
    SPECIAL_TOKENS,
    find_vocabulary,
    read_tokens,
    train_vocabulary,
)
from clipvil_mmf.text.wordpiece import WordPieceProcessor

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "data_side.json").read_text())
QUESTIONS = [
    "Is there a triangle?",
    "is there a Circle?",
    "what color is the circle?",
    "naïve zeal?",
]


@pytest.fixture
def vocab_file(tmp_path) -> Path:
    path = tmp_path / "vocab.txt"
    path.write_text("".join(f"{token}\n" for token in GOLDEN["vocab"]))
    return path


@pytest.mark.parametrize("case", GOLDEN["tokens"], ids=lambda case: case["text"][:20] or "empty")
def test_tokenises_as_the_published_code(vocab_file, case):
    processor = WordPieceProcessor({"vocab": str(vocab_file), "max_seq_length": 20})
    ids, lengths = processor([case["text"]])
    assert ids.shape == (1, 20)
    assert ids[0].tolist() == case["ids"]
    assert lengths[0] == sum(case["mask"])


def test_a_batch_is_its_questions(vocab_file):
    processor = WordPieceProcessor({"vocab": str(vocab_file)})
    ids, lengths = processor([case["text"] for case in GOLDEN["tokens"]])
    assert ids.tolist() == [case["ids"] for case in GOLDEN["tokens"]]
    assert lengths.tolist() == [sum(case["mask"]) for case in GOLDEN["tokens"]]


def test_relative_vocabulary_is_found_in_data_dir(vocab_file):
    processor = WordPieceProcessor({"vocab": "vocab.txt"}, data_dir=str(vocab_file.parent))
    assert processor.tokens == GOLDEN["vocab"]


def test_only_line_feeds_end_a_token(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_bytes("[PAD]\r\n\u2028\na\n".encode())
    assert read_tokens(path) == ["[PAD]", "\u2028", "a"]


def test_a_byte_order_mark_is_not_part_of_a_token(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("[PAD]\na\n", encoding="utf-8-sig")
    assert read_tokens(path) == ["[PAD]", "a"]
    path.write_text("[PAD]\na\n", encoding="utf-16")
    with pytest.raises(ConfigError, match=r"vocab\.txt is in UTF-16 or UTF-32; expected UTF-8"):
        read_tokens(path)


def test_trained_vocabulary():
    tokens = train_vocabulary(QUESTIONS, 1000, 1)
    assert tokens[:5] == list(SPECIAL_TOKENS)
    assert len(tokens) == len(set(tokens))
    words = [token for token in tokens[5:] if len(token) > 1 and not token.startswith("##")]
    # Most frequent first, equals by alphabet; lower case, without accents.
    assert words == ["is", "circle", "there", "color", "naive", "the", "triangle", "what", "zeal"]
    assert {"?", "z", "##l"} < set(tokens)


def test_rare_words_are_spelled_and_never_unknown():
    processor = WordPieceProcessor({"vocab": "train", "min_frequency": 2})
    assert processor.needs_fit
    processor.fit(QUESTIONS)
    assert not processor.needs_fit
    ids, lengths = processor(["zeal is"])
    assert [processor.tokens[i] for i in ids[0, : lengths[0]]] == [
        "[CLS]",
        "z",
        "##e",
        "##a",
        "##l",
        "is",
        "[SEP]",
    ]


def test_vocab_size_is_a_limit():
    size = len(train_vocabulary(QUESTIONS, 1000, 1))
    assert train_vocabulary(QUESTIONS, size - 3, 1) == train_vocabulary(QUESTIONS, size, 1)[:-3]
    with pytest.raises(ConfigError, match=r"vocab_size: got 20, but .* characters, which need"):
        train_vocabulary(QUESTIONS, 20, 1)


def test_same_questions_same_vocabulary_in_every_process():
    """The trainers of `tokenizers` fail this: they number pieces in a random order."""
    program = (
        "import sys; from clipvil_mmf.text.vocabulary import train_vocabulary;"
        "print('|'.join(train_vocabulary(sys.argv[1:], 1000, 1)))"
    )
    outputs = [
        subprocess.run(
            [sys.executable, "-c", program, *order],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            cwd=Path(__file__).parents[2],
        ).stdout
        for order, seed in ((QUESTIONS, "1"), (QUESTIONS[::-1], "2"))
    ]
    assert outputs[0] == outputs[1]
    assert b"circle" in outputs[0]


def test_use_before_training_is_refused():
    with pytest.raises(RuntimeError, match="vocab is 'train': call fit"):
        WordPieceProcessor({})(["is it?"])


def test_missing_file_is_named():
    with pytest.raises(ConfigError, match=r"the file ./none/vocab.txt does not exist"):
        find_vocabulary("./none/vocab.txt")


def test_hub_repository(monkeypatch, vocab_file):
    asked = []
    monkeypatch.setattr(
        huggingface_hub, "hf_hub_download", lambda *args: asked.append(args) or str(vocab_file)
    )
    assert find_vocabulary("bert-base-uncased") == vocab_file
    assert asked == [("bert-base-uncased", "vocab.txt")]


def test_offline_hub_says_which_file_to_fetch(monkeypatch):
    def offline(*args):
        raise LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(ConfigError, match=r"fetch https://huggingface.co/bert-base-uncased/res\S+"):
        find_vocabulary("bert-base-uncased")


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (["[PAD]", "[UNK]", "a"], r"it lacks \[CLS\], \[SEP\]"),
        (["a", "[PAD]", "[UNK]", "[CLS]", "[SEP]"], r"first token is not \[PAD\]"),
        (["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "a"], "a token occurs twice"),
    ],
)
def test_other_files_are_no_vocabulary(tmp_path, tokens, message):
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(tokens))
    with pytest.raises(ConfigError, match=f"vocab.txt is not a BERT vocabulary: .*{message}"):
        WordPieceProcessor({"vocab": str(path)})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"max_length": 20}, "max_length: unknown key.*Did you mean 'max_seq_length'"),
        ({"pad_to": "batch"}, "pad_to: unknown value 'batch'.*max, longest"),
        ({"max_seq_length": 2}, "max_seq_length: got 2"),
    ],
)
def test_bad_parameters(params, message):
    with pytest.raises(ConfigError, match=f"text_processor.params.{message}"):
        WordPieceProcessor(params)
