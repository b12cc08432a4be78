from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from mmf.common.registry import registry
from mmf.common.report import Report
from omegaconf import OmegaConf
from PIL import Image
from torch.utils.data import DataLoader

import clipvil_mmf.data.images
from clipvil_mmf.config import ConfigError
from clipvil_mmf.data.custom import CustomBuilder
from clipvil_mmf.data.dataset import ClipVilDataset
from clipvil_mmf.data.files import FilesParams
from clipvil_mmf.data.labels import UnknownLabelError
from clipvil_mmf.data.questions import AnnotationError, Question
from clipvil_mmf.data.store import open_or_convert
from clipvil_mmf.data.vqa2 import VQA2Builder
from clipvil_mmf.preprocessing import images_of
from clipvil_mmf.text_files import read_labels
from tests.data.conftest import ANSWERS

FIXTURES = Path(__file__).parents[1] / "fixtures"


def batch_of(dataset, indices):
    return dataset.collate(dataset.__getitems__(indices))


def test_batch_contract(make_dataset):
    batch = batch_of(make_dataset(), [0, 5, 1, 8])
    assert batch.images.shape == (2, 3, 8, 8) and batch.images.dtype == torch.uint8
    assert batch.image_index.tolist() == [0, 0, 1, 0]
    for name in ("input_ids", "input_mask", "segment_ids"):
        assert batch[name].shape == (4, 20) and batch[name].dtype == torch.int64
    assert batch.segment_ids.sum() == 0
    assert batch.input_mask.sum(1).tolist() == [6, 8, 7, 8]  # [CLS] is it (really)* red ? [SEP]
    assert torch.equal(batch.input_ids != 0, batch.input_mask.bool())
    assert batch.targets.dtype == torch.float32
    # Soft targets in the order yes, no, red, green.
    torch.testing.assert_close(
        batch.targets,
        torch.tensor([[1, 0.3, 0, 0], [1, 0.3, 0, 0], [0, 0.9, 0, 0], [1, 0.3, 0, 0]]),
    )
    assert batch.question_id == [100, 105, 101, 108]
    assert (batch.dataset_name, batch.dataset_type) == ("toy", "train")
    assert batch.get_batch_size() == 4


def test_a_batch_is_made_once(make_dataset, monkeypatch):
    """What the data loader asks for is the batch, and collating hands it on."""
    dataset = make_dataset(in_memory=True)
    made, stock = [], dataset.__getitems__

    class Watched(torch.utils.data.Dataset):
        def __getitems__(self, indices):
            made.append(stock(indices))
            return made[-1]

    (batch,) = DataLoader(Watched(), batch_sampler=[[0, 5, 1]], collate_fn=dataset.collate)
    assert batch is made[0] and batch.question_id == [100, 105, 101]
    one = dataset[5]
    assert one.question_id == [105] and one.images.shape == (1, 3, 8, 8)
    assert torch.equal(one.input_ids[0], batch.input_ids[1])


def test_each_question_gets_its_own_image(make_dataset, questions):
    dataset = make_dataset(mean=[0, 0, 0], std=[1, 1, 1])
    batch = batch_of(dataset, range(12))
    pixels = images_of(batch, batch.image_index).mean((1, 2, 3)) * 255
    expected = [10 * int(question.image[-5]) for question in questions]
    torch.testing.assert_close(pixels, torch.tensor(expected).float())


def test_in_memory_changes_nothing(make_dataset):
    kept, read = (batch_of(make_dataset(in_memory=m), range(12)) for m in (True, False))
    assert torch.equal(kept.images, read.images)


def test_no_batch_is_larger_than_the_dataset_says(make_dataset):
    """Workers get memory by it."""
    for section in ({"image_size": [8, 8]}, {"image_size": [8, 24], "image_transform": "fit_pad"}):
        dataset = make_dataset(group_by_image=False, **section)
        batch = batch_of(dataset, range(4))
        tensors = [value for value in batch.values() if isinstance(value, torch.Tensor)]
        most = dataset.batch_bytes(4)
        assert most // 2 < sum(tensor.nbytes for tensor in tensors) < most + 200


def test_each_image_of_a_batch_is_read_once(make_dataset, monkeypatch):
    dataset = make_dataset()
    real, opened = clipvil_mmf.data.images.decode, []
    monkeypatch.setattr(
        clipvil_mmf.data.images, "decode", lambda p, t: opened.append(p) or real(p, t)
    )
    batch_of(dataset, range(12))
    assert len(opened) == 5


def test_batch_survives_copies_and_reports(make_dataset):
    batch = batch_of(make_dataset(), [0, 5, 1])
    moved = batch.to("cpu").copy()
    report = Report(moved, {"scores": torch.zeros(3, 4)})
    for other in (moved, report):
        assert other.images.shape[0] == 2 and other.question_id == [100, 105, 101]
        assert other.get_batch_size() == 3


def test_longest_cuts_the_padding(make_dataset):
    dataset = make_dataset(text={"pad_to": "longest"})
    full = make_dataset()
    for indices, longest in (([0, 3], 6), ([0, 2], 8)):
        short, wide = batch_of(dataset, indices), batch_of(full, indices)
        assert short.input_ids.shape == short.input_mask.shape == (2, longest)
        assert torch.equal(short.input_ids, wide.input_ids[:, :longest])


def test_grouping_changes_the_order_alone(make_dataset):
    contents = []
    for group in (True, False):
        dataset = make_dataset(group_by_image=group)
        sampler = dataset.build_batch_sampler(5, True, 7, 0, 1)
        rows = {}
        for indices in sampler:
            batch = batch_of(dataset, indices)
            for i, key in enumerate(batch.question_id):
                image = batch.images[batch.image_index[i]]
                rows[key] = torch.cat([batch.input_ids[i], batch.targets[i], image.flatten()])
        contents.append(rows)
    assert contents[0].keys() == contents[1].keys() and len(contents[0]) == 12
    assert all(torch.equal(contents[0][key], contents[1][key]) for key in contents[0])


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_gives_every_question_once(make_dataset, workers):
    dataset = make_dataset(in_memory=True)
    sampler = dataset.build_batch_sampler(4, True, 0, 0, 1)
    loader = DataLoader(
        dataset, batch_sampler=sampler, collate_fn=dataset.collate, num_workers=workers
    )
    batches = list(loader)
    assert sorted(key for batch in batches for key in batch.question_id) == list(range(100, 112))
    assert all(batch.get_batch_size() == len(batch.question_id) for batch in batches)


def test_training_questions_without_answers_are_named(make_dataset, questions, tmp_path):
    """A-OKVQA's fields, say: which there are, and which would be read."""
    unlabelled = make_dataset([replace(q, answers=None) for q in questions])
    with pytest.raises(AnnotationError, match=r"toy\.json: its questions have no answers"):
        batch_of(unlabelled, [0])
    row = {"question_id": 1, "image": "a", "question": "?", "direct_answers": ["red"] * 10}
    (tmp_path / "train.jsonl").write_text(json.dumps(row))
    params = FilesParams(data_dir=str(tmp_path), annotations={"train": "train.jsonl"})
    message = (
        r"train\.jsonl: .* fields are question_id, image, question, direct_answers; .* 'label'"
    )
    for builder in (CustomBuilder(), VQA2Builder()):
        with pytest.raises(AnnotationError, match=message):
            builder.labels(params)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data_dir": 3}, r"dataset_config\.vqa2\.data_dir: 3 is not a folder"),
        (
            {"data_dir": ["a"]},
            r"dataset_config\.vqa2\.data_dir: got \['a'\] \(list\), expected str",
        ),
        ({"processors": True}, r"dataset_config\.vqa2\.processors: got True"),
        ({"processors": {}}, r"dataset_config\.vqa2\.data_dir: nowhere is not a folder"),
        (
            {"processors": {"answer_processor": "a"}},
            r"dataset_config\.vqa2\.processors\.answer_processor: got 'a', expected {type: ",
        ),
        (
            {"processors": {"answer_processor": {"params": [1]}}},
            r"dataset_config\.vqa2\.processors\.answer_processor: got .*, expected {type: ",
        ),
        ({"annotations": {"train": 5}}, r"vqa2\.annotations\.train: got 5; expected a list of"),
        ({"annotations": {"train": [5]}}, r"vqa2\.annotations\.train: got \[5\]; expected a list"),
        ({"aspect_ratio_factor": 10**9}, r"aspect_ratio_factor: got 10+, expected at most 1000"),
        ({"zoo_requirements": True}, r"dataset_config\.vqa2\.zoo_requirements: got True"),
        (
            {"store_dir": "a\0b"},
            r"dataset_config\.vqa2\.store_dir: got 'a\\x00b', which has a null",
        ),
    ],
)
def test_odd_values_of_a_section_are_named_before_anything_is_read(change, message):
    section = {"data_dir": "nowhere", "processors": {"answer_processor": {"params": {}}}, **change}
    for read in (VQA2Builder().build, VQA2Builder().load):
        if read.__name__ == "build" and "is not a folder" in message:
            continue  # it fetches what the folder lacks
        with pytest.raises(ConfigError, match=message):
            read(OmegaConf.create(section), "train")


def test_unlabelled_split_has_no_targets(make_dataset, questions):
    dataset = make_dataset([replace(q, answers=None) for q in questions], dataset_type="test")
    assert "targets" not in batch_of(dataset, [0, 1])


def test_half_labelled_split_is_refused(make_dataset, questions):
    questions[3] = replace(questions[3], answers=None)
    with pytest.raises(AnnotationError, match=r"toy.json: 11 of 12 questions have answers"):
        make_dataset()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("ids", [[7, 2**40], ["07", "n-1"]])
def test_prediction_rows(make_dataset, dtype, ids):
    scores = torch.tensor([[0.1, 0.9, 0, 0], [0, 0, 0, 2]], dtype=dtype)
    report = Report(batch_of(make_dataset(), [0, 1]), {"scores": scores})
    report["question_id"] = ids
    rows = make_dataset().format_for_prediction(report)
    assert rows == [
        {"question_id": ids[0], "answer": "no"},
        {"question_id": ids[1], "answer": "green"},
    ]


def test_a_task_of_choices_needs_them(make_dataset):
    dataset = make_dataset(task="aokvqa")
    report = Report(batch_of(dataset, [0]), {"scores": torch.zeros(1, 4)})
    with pytest.raises(ConfigError, match=r"dataset_config\.toy\.task: aokvqa writes choices, but"):
        dataset.format_for_prediction(report)


def test_unknown_config_key_is_named(make_dataset):
    with pytest.raises(ConfigError, match=r"dataset_config.toy.group_by_images: unknown key.*Did"):
        make_dataset(group_by_images=True)


def test_unknown_answer_raises(make_dataset, questions):
    questions[4] = replace(questions[4], answers={"purple": 1.0})
    with pytest.raises(UnknownLabelError, match=r"toy.json: question 104: the label 'purple' is"):
        make_dataset()


def test_unknown_answers_can_be_skipped(make_dataset, questions, caplog):
    questions[4] = replace(questions[4], answers={"purple": 1.0})
    questions[0] = replace(questions[0], answers={"purple": 1.0, "red": 0.6})
    with caplog.at_level(logging.WARNING):
        train = make_dataset(on_unknown_answer="skip")
    assert "toy train: 2 questions have labels outside the vocabulary; 1 are left" in caplog.text
    assert len(train) == 11
    batch = batch_of(train, range(11))
    assert 104 not in batch.question_id
    torch.testing.assert_close(batch.targets[0], torch.tensor([0, 0, 0.6, 0]))
    # Evaluation keeps the question, with nothing right to answer.
    test = make_dataset(dataset_type="test", on_unknown_answer="skip")
    assert len(test) == 12
    assert batch_of(test, [4]).targets.sum() == 0


def test_number_of_questions_is_logged(make_dataset, caplog):
    with caplog.at_level(logging.INFO):
        make_dataset()
    assert "toy train: 12 questions on 5 images" in caplog.text


def test_a_split_without_usable_questions_is_an_error(make_dataset):
    with pytest.raises(AnnotationError, match=r"toy.json: none of its questions can be used"):
        make_dataset(on_unknown_answer="skip", answers=["maybe"])


def test_preparing_twice_changes_nothing(make_dataset):
    dataset = make_dataset()
    before = batch_of(dataset, range(12))
    dataset.init_processors()
    assert torch.equal(batch_of(dataset, range(12)).input_ids, before.input_ids)


def test_validation_keeps_questions_outside_the_vocabulary_with_zero_targets(make_dataset):
    """So that GQA's accuracy counts them as wrong."""
    dataset = make_dataset(dataset_type="val", answers=["yes"], on_unknown_answer="skip")
    everything = dataset.__getitems__(range(len(dataset)))
    assert len(dataset) == 12 and (everything.targets == 0).all(1).sum() == 6


def test_keep_leaves_questions_without_known_answers_in_training(make_dataset, caplog):
    with caplog.at_level("WARNING"):
        train = make_dataset(answers=["yes"], on_unknown_answer="keep")
    assert len(train) == 12
    assert "0 are left out" in caplog.text
    assert any(not train[i]["targets"].any() for i in range(12))


def test_a_spawned_worker_gives_the_same_batches(tmp_path):
    vqa = FIXTURES / "vqa2"
    text = {"type": "clipvil_wordpiece", "params": {"vocab": str(FIXTURES / "vocab.txt")}}
    section = {
        "data_dir": "unused",
        "image_transform": "fit_pad",
        "image_size": [64, 96],
        "group_by_aspect_ratio": True,
        "processors": {
            "text_processor": text,
            "answer_processor": {"type": "clipvil_answer", "params": {"vocab": "dataset"}},
        },
    }
    dataset = ClipVilDataset(
        "toy",
        OmegaConf.create(section),
        "train",
        table=open_or_convert([vqa / "train.json"], tmp_path / "store"),
        training_questions=list,
        labels=lambda: read_labels(vqa / "trainval_label2ans.json"),
        image_root=str(vqa),
    )
    dataset.init_processors()

    def batches(**workers):
        sampler = dataset.build_batch_sampler(8, True, 3, 0, 1)
        return list(
            DataLoader(dataset, batch_sampler=sampler, collate_fn=dataset.collate, **workers)
        )

    here, there = batches(), batches(num_workers=1, multiprocessing_context="spawn")
    for mine, theirs in zip(here, there, strict=True):
        assert mine.question_id == theirs.question_id
        for name in ("images", "image_index", "input_ids", "input_mask", "targets"):
            assert torch.equal(mine[name], theirs[name])
    assert len({batch.images.shape[2:] for batch in here}) == 2  # landscape, portrait


@pytest.mark.parametrize(
    ("image", "inside"),
    [
        ("../outside.png", False),
        ("a/../../outside.png", False),
        ("{parent}/outside.png", False),
        ("{parent}/images2/0.png", False),
        ("..a.png", True),
        ("a/../0.png", True),
        ("{parent}/images/0.png", True),
    ],
)
def test_images_outside_of_their_folder(tmp_path, make_dataset, image, inside):
    (tmp_path / "images" / "a").mkdir(parents=True)
    (tmp_path / "images2").mkdir()
    for name in ("outside.png", "images/0.png", "images/..a.png", "images2/0.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    records = [Question(0, "is it red?", image.format(parent=tmp_path), {"red": 1.0})]
    root = str(tmp_path / "images")
    if not inside:
        with pytest.raises(AnnotationError, match=r"toy\.json: .*outside of.*allow_outside_images"):
            make_dataset(records, root=root)
    dataset = make_dataset(records, root=root, allow_outside_images=not inside)
    assert dataset[0].images.shape == (1, 3, 8, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"answer_procesor": {"type": "clipvil_answer"}},
            r"toy\.processors\.answer_procesor: unknown key\. Did you mean 'answer_processor'",
        ),
        (
            {"answer_processor": {"type": "clipvil_answer", "parms": {"vocab": "a.txt"}}},
            r"toy\.processors\.answer_processor\.parms: unknown key\. Did you mean 'params'",
        ),
        ({"text_processor": None}, r"toy\.processors\.text_processor: missing; expected \{type"),
        (
            {"text_processor": {"type": "clipvil_wordpiece", "params": {"vocab": "bert"}}},
            None,
        ),
    ],
)
def test_processors_that_would_be_passed_over(make_dataset, change, message):
    text = {"type": "clipvil_wordpiece", "params": {}}
    labels = {"type": "clipvil_answer", "params": {"vocab": "dataset"}}
    processors = {"text_processor": text, "answer_processor": labels, **change}
    if message is None:
        change["text_processor"]["params"]["min_frequency"] = 2
        message = r"text_processor\.params\.min_frequency: for vocab: train alone"
    with pytest.raises(ConfigError, match=message):
        make_dataset(processors=processors)


def test_a_batch_of_classes(make_dataset, questions):
    questions[1] = replace(questions[1], answers={"purple": 1.0})
    records = [replace(q, answers={max(q.answers, key=q.answers.get): 1.0}) for q in questions]
    train = make_dataset(records, task="entailment", on_unknown_answer="keep")
    assert train.labels == sorted(ANSWERS)  # green, no, red, yes
    batch = batch_of(train, [0, 1, 2, 3])
    assert batch.targets.tolist() == [3, -1, 2, 0] and batch.targets.dtype == torch.int64
    report = Report(batch, {"scores": torch.eye(4)})
    assert train.format_for_prediction(report)[1:3] == [
        {"id": 101, "label": "no"},
        {"id": 102, "label": "red"},
    ]


def test_the_task_may_say_its_labels(make_dataset, tmp_path):
    task = {"type": "entailment", "params": {"labels": ["red", "yes", "no", "green"]}}
    (tmp_path / "labels.txt").write_text("yes\nno\nred\ngreen\n")
    processors = {
        "text_processor": {"type": "clipvil_wordpiece", "params": {}},
        "answer_processor": {
            "type": "clipvil_answer",
            "params": {"vocab": str(tmp_path / "labels.txt")},
        },
    }
    with pytest.raises(
        ConfigError, match=r"toy\.task\.params\.labels: .*set the latter to dataset"
    ):
        make_dataset(task=task, processors=processors)
    del registry.mapping["state"]["toy_answer_processor"]
    assert make_dataset(task=task).labels == ["red", "yes", "no", "green"]


def test_a_task_of_two_images_is_refused(make_dataset, monkeypatch):
    monkeypatch.setattr("clipvil_mmf.tasks.gqa.GQA.images_per_sample", 2)
    with pytest.raises(
        ConfigError, match=r"toy\.task: gqa has 2 images per sample, .*toy\.json have 1"
    ):
        make_dataset(task="gqa")


@pytest.fixture
def pairs(image_dir):
    """Statements about pairs of the five images, two about the first pair."""
    sides = [(0, 1), (0, 1), (1, 0), (2, 3), (4, 4)]
    return [
        Question(
            f"dev-{number}-0-0",
            "is it red?",
            tuple(str(image_dir / f"{image}.png") for image in pair),
            {("True", "False")[number % 2]: 1.0},
        )
        for number, pair in enumerate(sides)
    ]


def paired(pairing, **options):
    return {"task": {"type": "nlvr2", "params": {"pairing": pairing}}, "mean": [0, 0, 0], **options}


def test_pairs_side_by_side_are_one_picture(make_dataset, pairs):
    """The left image on the left, nothing cut, each pair once."""
    std = [1 / 255] * 3  # pixels as they are
    dataset = make_dataset(pairs, answers=None, **paired("side_by_side", std=std))
    batch = dataset.__getitems__([0, 1, 2, 3, 4])
    assert batch["images"].shape == (4, 3, 8, 16)
    assert batch["image_index"].tolist() == [0, 0, 1, 2, 3]
    halves = [(int(image[0, 0, 0]), int(image[0, 7, 15])) for image in batch["images"].round()]
    assert halves == [(0, 10), (10, 0), (20, 30), (40, 40)]
    assert batch["targets"].tolist() == [1, 0, 1, 0, 1]  # False, True


def test_pairs_in_two_passes_are_images_of_their_own(make_dataset, pairs):
    dataset = make_dataset(pairs, answers=None, **paired("two_passes"))
    batch = dataset.__getitems__([0, 1, 2, 3])
    assert batch["images"].shape == (4, 3, 8, 8)
    assert batch["image_index"].tolist() == [[0, 1], [0, 1], [1, 0], [2, 3]]


@pytest.mark.parametrize("pairing", ["side_by_side", "two_passes"])
def test_no_batch_of_pairs_is_larger_than_the_dataset_says(make_dataset, pairs, pairing):
    dataset = make_dataset(pairs, answers=None, **paired(pairing, image_size=[8, 24]))
    batch = dataset.__getitems__([0, 3])  # four images
    most = dataset.batch_bytes(2)
    assert most // 2 < batch["images"].nbytes <= most


def test_a_part_of_the_pairs(make_dataset, pairs):
    dataset = make_dataset(pairs, answers=None, subset=3, **paired("two_passes"))
    images = {
        tuple(dataset.table.image_rows[row]) for row in dataset._rows(np.arange(len(dataset)))
    }
    assert len(images) == 3


def test_statements_about_a_pair_stay_together(make_dataset, pairs):
    dataset = make_dataset(pairs, answers=None, **paired("two_passes"))
    for batch in dataset.build_batch_sampler(2, shuffle=True, seed=3, rank=0, world_size=1):
        assert (0 in batch) == (1 in batch) or len(batch) == 1


def test_a_pair_with_a_bad_image_is_left_out(make_dataset, pairs, image_dir):
    (image_dir / "3.png").unlink()
    dataset = make_dataset(pairs, answers=None, **paired("side_by_side", on_bad_image="skip"))
    assert len(dataset) == 4
    answered = make_dataset(pairs, "val", answers=None, **paired("two_passes", on_bad_image="skip"))
    assert len(answered) == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"image_transform": "fit_pad", "image_size": [8, 12]},
            r"image_transform: fit_pad gives the 2 images .*8x12 and 12x8.*such as \[8,8\]",
        ),
        ({"group_by_aspect_ratio": True}, r"group_by_aspect_ratio: true, but a sample has 2"),
        ({"features": {"path": "x"}}, r"features: nlvr2 joins the pixels of 2 images"),
        ({"task": "snli_ve"}, r"task: snli_ve has 1 images per sample, .*toy\.json have 2"),
    ],
)
def test_what_does_not_suit_pairs(make_dataset, pairs, options, message):
    with pytest.raises(ConfigError, match=message):
        make_dataset(pairs, answers=None, **{**paired("side_by_side"), **options})


def test_a_square_canvas_keeps_the_aspect_ratio_of_both(make_dataset, pairs):
    options = {"image_transform": "fit_pad", "image_size": [8, 8]}
    batch = make_dataset(pairs, answers=None, **paired("two_passes", **options)).__getitems__([0])
    assert batch["images"].shape == (2, 3, 8, 8)


def test_a_part_of_the_training_images(make_dataset, caplog):
    """With all questions of each; a smaller part lies in a larger one of the same seed."""
    caplog.set_level("INFO")

    def images(subset, seed=0, **options):
        dataset = make_dataset(subset=subset, subset_seed=seed, **options)
        rows = dataset._rows(np.arange(len(dataset)))
        kept = set(dataset.table.image_rows[rows].tolist())
        assert len(dataset) == np.isin(dataset.table.image_rows, list(kept)).sum()
        return kept

    assert len(images(0.4)) == len(images(2)) == 2
    assert images(2) < images(4) < images(0.9) == images(5) == images(50) == set(range(5))
    assert len({tuple(sorted(images(2, seed))) for seed in range(8)}) > 1
    assert images(2) == images(2)
    assert "toy train: subset: 2 of 5 images" in caplog.text
    assert images(2, dataset_type="val") == set(range(5))


@pytest.mark.parametrize("subset", [0, 0.0, 1.5, -1, True, "half"])
def test_a_part_that_is_none(make_dataset, subset):
    with pytest.raises(ConfigError, match=r"subset: got .*, expected a share of the images"):
        make_dataset(subset=subset)


def test_the_factor_of_aspect_groups(make_dataset, monkeypatch):
    given = []
    monkeypatch.setattr(
        "clipvil_mmf.data.dataset.aspect_groups",
        lambda sizes, is_portrait, factor: given.append(factor) or np.zeros(len(sizes), np.int8),
    )
    dataset = make_dataset(group_by_aspect_ratio=True, aspect_ratio_factor=5)
    dataset.build_batch_sampler(4, True, 0, 0, 1)
    assert given == [5]
    with pytest.raises(ConfigError, match="aspect_ratio_factor: got -1"):
        make_dataset(aspect_ratio_factor=-1)
