"""Word vectors of GloVe and fastText from small files, and random ones."""

import gzip
from pathlib import Path

import pytest
import torch

from mmf_bridge.common import word_vectors as module
from mmf_bridge.common.word_vectors import word_vectors

GLOVE = "red 1 2 3\n. . . 0.5 -1 1e-2\nblue 4 5 6\n"
FASTTEXT = "3 3\nred 1 2 3 \n. . . 0.5 -1 1e-2 \nblue 4 5 6 \n"
ROWS = torch.tensor([[1, 2, 3], [0.5, -1, 0.01], [4, 5, 6]])


@pytest.fixture
def vocabularies():
    from mmf.utils import vocab

    return vocab


@pytest.fixture
def cache(tmp_path, vocabularies, monkeypatch):
    monkeypatch.setattr(vocabularies, "get_mmf_cache_dir", lambda: str(tmp_path))
    (tmp_path / "words.txt").write_text("blue\ngreen\nred\n")
    return tmp_path


@pytest.mark.parametrize("text", [GLOVE, FASTTEXT], ids=["glove", "fasttext"])
@pytest.mark.parametrize("ending", [".txt", ".vec.gz"])
def test_a_file_is_read_once_and_mapped(tmp_path, monkeypatch, text, ending):
    path = tmp_path / f"vectors{ending}"
    path.write_bytes(gzip.compress(text.encode()) if ending.endswith("gz") else text.encode())
    words, vectors = word_vectors(str(path), tmp_path)
    assert words == {"red": 0, ". . .": 1, "blue": 2}
    torch.testing.assert_close(vectors, ROWS)
    monkeypatch.setattr(module, "read_text", None)
    assert torch.equal(word_vectors("vectors", tmp_path)[1], vectors)
    assert "safetensors" in Path("/proc/self/maps").read_text()


def test_another_file_of_the_same_name_is_read_anew(tmp_path):
    path = tmp_path / "vectors.txt"
    path.write_text(GLOVE)
    word_vectors(str(path), tmp_path)
    path.write_text("one 1\n")
    assert word_vectors(str(path), tmp_path)[0] == {"one": 0}


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"red 1 2\nblue 1\n", 2),
        (b"red 1 2\nblue 1 two\n", 2),
        (b"red 1 2\nblue 1 nan\n", 2),
        (b"2 2\nred 1 2\n\n", 3),
        (b"red\n", 1),
        (b"red 1 2\nbl\xffue 1 2\n", 1),  # the text of a block is decoded before its lines
    ],
)
def test_a_malformed_line_is_named(tmp_path, data, line):
    path = tmp_path / "vectors.txt"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"{path}, line {line}: is not a word with"):
        word_vectors(str(path), tmp_path)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_a_mark_at_the_start_is_not_of_the_first_word(tmp_path):
    (tmp_path / "vectors.txt").write_bytes(b"\xef\xbb\xbf" + FASTTEXT.encode())
    assert list(word_vectors("vectors", tmp_path)[0]) == ["red", ". . .", "blue"]


def test_a_file_with_fewer_words_than_its_first_line_says(tmp_path):
    (tmp_path / "vectors.txt").write_text(FASTTEXT.replace("3 3\n", "9 3\n"))
    with pytest.raises(ValueError, match="the first line says 9 words, and there are 3"):
        word_vectors("vectors", tmp_path)


def test_vectors_that_do_not_fit_the_vocabulary_or_the_model(cache, vocabularies):
    (cache / "vectors.txt").write_text(GLOVE)
    options = {"type": "intersected", "embedding_name": "vectors"}
    vocabulary = vocabularies.Vocab(vocab_file=str(cache / "words.txt"), **options)
    with pytest.raises(ValueError, match=r"have 3 numbers, and .* has embedding_dim 300"):
        vocabulary.get_embedding(torch.nn.Embedding, embedding_dim=300)
    (cache / "other.txt").write_text("RED\nBLUE\n")
    with pytest.raises(ValueError, match=r"vectors: it has none of the 2 words of .*other\.txt"):
        vocabularies.Vocab(vocab_file=str(cache / "other.txt"), **options)


def test_half_a_gzip_file_is_an_error(tmp_path):
    path = tmp_path / "vectors.txt.gz"
    path.write_bytes(gzip.compress(GLOVE.encode())[:-9])
    with pytest.raises(ValueError, match=r"vectors\.txt\.gz, line"):
        word_vectors(str(path), tmp_path)


def test_a_missing_file_says_where_to_put_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"glove\.6B\.300d\.txt.* in .*env\.cache_dir"):
        word_vectors("glove.6B.300d", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"wiki\.en\.vec"):
        word_vectors("fasttext.en.300d", tmp_path)


def test_a_vocabulary_with_the_vectors_of_its_words(cache, vocabularies):
    (cache / "glove.6B.3d.txt").write_text(GLOVE)
    vocabulary = vocabularies.Vocab(
        type="intersected", vocab_file=str(cache / "words.txt"), embedding_name="glove.6B.3d"
    )
    assert vocabulary.get_embedding_dim() == 3
    assert vocabulary.vectors[:4, 0].tolist() == pytest.approx([0, 0.1, 0.2, 0.3])
    expected = torch.stack([ROWS[2], torch.full((3,), 0.3), ROWS[0]])  # green has none
    torch.testing.assert_close(vocabulary.vectors[4:], expected)
    layer = vocabulary.get_embedding(torch.nn.Embedding, embedding_dim=3)
    assert torch.equal(layer.weight, vocabulary.vectors) and layer.weight.requires_grad


def test_a_vocabulary_of_all_words_of_a_file(cache, vocabularies):
    (cache / "wiki.simple.vec").write_text(FASTTEXT)
    vocabulary = vocabularies.Vocab(type="pretrained", embedding_name="fasttext.simple.300d")
    assert vocabulary.get_size() == 7
    assert vocabulary.get_itos()[6] == "blue" and vocabulary.get_stoi()["blue"] == 6
    assert vocabulary.get_stoi()["unheard"] == vocabulary.get_unk_index()
    torch.testing.assert_close(vocabulary.vectors[4:], ROWS)


def test_random_vectors_are_drawn(cache, vocabularies, monkeypatch):
    monkeypatch.setattr(
        torch, "FloatTensor", lambda *shape: torch.full(shape, float("nan"))
    )  # what memory may hold
    options = {"vocab_file": str(cache / "words.txt"), "embedding_dim": 300}
    torch.manual_seed(1)
    first = vocabularies.Vocab(type="random", **options).vectors
    torch.manual_seed(1)
    assert torch.equal(vocabularies.Vocab(type="random", **options).vectors, first)
    assert first.shape == (7, 300) and first.std().item() == pytest.approx(1, abs=0.1)
