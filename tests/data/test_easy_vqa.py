from __future__ import annotations

import json
import logging
from collections import Counter
from pathlib import Path

import pytest
from mmf.common.registry import registry
from omegaconf import OmegaConf

from clipvil_mmf.config import ConfigError
from clipvil_mmf.data import easy_vqa_files
from clipvil_mmf.data.easy_vqa import EasyVQABuilder
from clipvil_mmf.data.questions import AnnotationError


@pytest.fixture(scope="module")
def splits():
    return {split: easy_vqa_files.read_questions(split) for split in easy_vqa_files.SPLITS}


def test_splits(splits):
    assert {split: len(questions) for split, questions in splits.items()} == {
        "train": 34676,
        "val": 3899,
        "test": 9673,
    }
    images = {split: {q.image for q in questions} for split, questions in splits.items()}
    assert {split: len(paths) for split, paths in images.items()} == {
        "train": 3600,
        "val": 400,
        "test": 1000,
    }
    assert not images["train"] & images["val"]
    assert all(int(Path(path).stem) % 10 == 0 for path in images["val"])
    assert all(Path(path).parts[-3] == "test" for path in images["test"])


COUNTS = {
    "train": {
        "shape": 4492,
        "color": 4644,
        "is_shape": 3407,
        "is_color": 9344,
        "is_not_shape": 3556,
        "is_not_color": 9233,
    },
    "val": {
        "shape": 510,
        "color": 522,
        "is_shape": 403,
        "is_color": 1033,
        "is_not_shape": 383,
        "is_not_color": 1048,
    },
    "test": {
        "shape": 1257,
        "color": 1280,
        "is_shape": 974,
        "is_color": 2557,
        "is_not_shape": 961,
        "is_not_color": 2644,
    },
}


@pytest.mark.parametrize("split", easy_vqa_files.SPLITS)
def test_question_types(splits, split):
    assert Counter(easy_vqa_files.question_type(q.text) for q in splits[split]) == COUNTS[split]
    shapes, yes_no = {"circle", "rectangle", "triangle"}, {"yes", "no"}
    for question in splits[split]:
        kind = easy_vqa_files.question_type(question.text)
        (answer,) = question.answers
        assert (answer in yes_no) == kind.startswith("is_")
        assert (answer in shapes) == (kind == "shape")
    two = easy_vqa_files.read_questions(split, types=["color", "is_not_shape"])
    assert len(two) == COUNTS[split]["color"] + COUNTS[split]["is_not_shape"]


def test_every_question_type_has_an_example_of_it():
    for name, example in easy_vqa_files.QUESTION_TYPES.items():
        for text in example.split("? "):
            assert easy_vqa_files.question_type(text) == name


def test_ids_are_positions_in_the_file(splits):
    ids = sorted(q.question_id for split in ("train", "val") for q in splits[split])
    assert ids == list(range(38575))
    assert [q.question_id for q in splits["test"]] == list(range(9673))
    rows = json.loads((easy_vqa_files.package_data() / "train" / "questions.json").read_text())
    for question in splits["val"][:50]:
        text, answer, image = rows[question.question_id]
        assert (question.text, question.answers) == (text, {answer: 1.0})
        assert question.image.endswith(f"/{image}.png")


def test_every_answer_is_in_the_vocabulary(splits):
    answers = easy_vqa_files.read_answers()
    assert len(answers) == 13
    assert {a for questions in splits.values() for q in questions for a in q.answers} == set(
        answers
    )


def test_missing_package_names_the_command(monkeypatch):
    monkeypatch.setattr(easy_vqa_files, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install easy-vqa"):
        EasyVQABuilder().build(None)


def test_damaged_package(tmp_path):
    with pytest.raises(FileNotFoundError, match="pip install --force-reinstall easy-vqa"):
        easy_vqa_files.read_questions("test", tmp_path)
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "questions.json").write_text('[["is it?", "yes"]]')
    with pytest.raises(AnnotationError, match=r"question 0 is \['is it\?', 'yes'\]; expected"):
        easy_vqa_files.read_questions("test", tmp_path)


def test_unknown_split():
    with pytest.raises(ValueError, match="no split 'minival'; expected one of train, val, test"):
        easy_vqa_files.read_questions("minival")


@pytest.fixture
def config(tmp_path):
    """MMF's configuration, with the defaults that the builder names."""
    path = Path(EasyVQABuilder.config_path())
    assert path.is_absolute()
    environment = {"env": {"data_dir": str(tmp_path), "save_dir": str(tmp_path / "save")}}
    whole = OmegaConf.merge(environment, OmegaConf.load(path))
    registry.register("config", whole)
    return whole.dataset_config.easy_vqa


def build(config, split):
    builder = registry.get_builder_class("easy_vqa")()
    builder.build_dataset(config, split)
    dataset = builder.load_dataset(config, split)
    builder.update_registry_for_model(config)
    return dataset


def test_builder_gives_the_split_and_the_vocabularies(config, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        dataset = build(config, "val")
    assert "easy_vqa val: 3899 questions on 400 images" in caplog.text
    batch = dataset.collate(dataset.__getitems__(range(64)))
    assert batch.images.shape[1:] == (3, 64, 64)
    assert batch.targets.shape == (64, 13)
    # As all questions are known words, nothing is spelled and nothing is unknown.
    tokens = registry.get("easy_vqa_text_vocab")
    text = " ".join(tokens[i] for i in batch.input_ids[0] if tokens[i] != "[PAD]")
    assert text == "[CLS] what is the blue shape ? [SEP]"
    assert registry.get("easy_vqa_answer_vocab") == easy_vqa_files.read_answers()
    assert registry.get("easy_vqa_num_final_outputs") == 13
    folder = tmp_path / "save" / "vocabularies"
    assert (folder / "easy_vqa_text.txt").read_text().split("\n")[:-1] == tokens
    assert (folder / "easy_vqa_answers.txt").read_text().split() == easy_vqa_files.read_answers()
    assert len(list(folder.iterdir())) == 2  # and no half-written file


def test_every_split_alone_gives_the_same_vocabulary(config, monkeypatch):
    vocabularies = []
    for split in ("test", "train"):
        monkeypatch.setitem(registry.mapping, "state", {"config": registry.get("config")})
        build(config, split)
        vocabularies.append(registry.get("easy_vqa_text_vocab"))
    assert vocabularies[0] == vocabularies[1]


def test_splits_of_a_run_share_the_processors(config):
    val, test = build(config, "val"), build(config, "test")
    assert val.text_processor is test.text_processor
    assert val.answer_processor is test.answer_processor


@pytest.mark.parametrize("split", easy_vqa_files.SPLITS)
def test_a_run_on_some_question_types_has_the_vocabularies_of_all(config, monkeypatch, split):
    build(config, split)
    whole = {kind: registry.get(f"easy_vqa_{kind}_vocab") for kind in ("text", "answer")}
    monkeypatch.setitem(registry.mapping, "state", {"config": registry.get("config")})
    config.question_types = ["color", "is_not_shape"]
    dataset = build(config, split)
    assert len(dataset) == COUNTS[split]["color"] + COUNTS[split]["is_not_shape"]
    assert {kind: registry.get(f"easy_vqa_{kind}_vocab") for kind in whole} == whole


@pytest.mark.parametrize(
    ("types", "message"),
    [
        (["colour"], r"easy_vqa\.question_types: unknown value 'colour'\. Did you mean 'color'"),
        (["shape", "is_nt_shape"], r"'is_nt_shape'\. Did you mean 'is_not_shape'"),
        ([], r"question_types: the list is empty; .* null for all"),
        ("color", r"easy_vqa\.question_types: got 'color' \(str\), expected"),
    ],
)
def test_bad_question_types(config, types, message):
    config.question_types = types
    with pytest.raises(ConfigError, match=message):
        build(config, "val")


def test_captions_say_what_the_questions_tell(splits):
    captions = easy_vqa_files.read_captions("train")
    assert len({caption.question_id for caption in captions}) == len(captions)
    assert all(caption.answers == {} for caption in captions)
    texts = {}
    for caption in captions:
        texts.setdefault(caption.image, []).append(caption.text)
    assert len(texts) > 3500 and max(map(len, texts.values())) == 7
    words = {word for q in splits["train"] for word in q.text.rstrip("?").split()}
    assert words >= {word for caption in captions for word in caption.text.split()}
    for question in splits["train"]:
        (answer,) = question.answers
        if answer not in ("yes", "no"):
            assert any(answer in text.split() for text in texts[question.image])
