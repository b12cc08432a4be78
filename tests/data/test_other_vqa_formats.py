"""The formats of OK-VQA, A-OKVQA, VizWiz, Visual Genome, TextVQA and ST-VQA."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clipvil_mmf.data.catalogue import CATALOGUES, find_split
from clipvil_mmf.data.formats import read_table, recognise
from clipvil_mmf.data.questions import AnnotationError, Question
from clipvil_mmf.data.table import check_table

FIXTURES = Path(__file__).parents[1] / "fixtures"
NEW = ("okvqa", "aokvqa", "vizwiz", "visual_genome", "textvqa")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("okvqa/OpenEnded_mscoco_train2014_questions.json", "official VQA v2 JSON"),
        ("aokvqa/aokvqa_v1p0_train.json", "A-OKVQA JSON"),
        ("aokvqa/aokvqa_v1p0_test.json", "A-OKVQA JSON"),
        ("vizwiz/train.json", "VizWiz JSON"),
        ("vizwiz/test.json", "VizWiz JSON"),
        ("visual_genome/question_answers.json", "Visual Genome questions"),
        ("textvqa/TextVQA_0.5.1_train.json", "TextVQA JSON"),
        ("textvqa/TextVQA_0.5.1_test.json", "TextVQA JSON"),
        ("stvqa/train_task_3.json", "ST-VQA JSON"),
        ("stvqa/test_task_3.json", "ST-VQA JSON"),
    ],
)
def test_a_format_is_recognised_by_its_content(tmp_path, file, name):
    (tmp_path / "renamed.json").write_bytes((FIXTURES / file).read_bytes())
    assert name == recognise(tmp_path / "renamed.json").NAME


@pytest.mark.parametrize(
    ("dataset", "split"),
    [(name, split) for name in NEW for split in CATALOGUES[name].splits],
)
def test_files_of_a_split_are_found_and_their_images_there(dataset, split):
    known, root = CATALOGUES[dataset], FIXTURES / dataset
    table = read_table(find_split(dataset, split, root))
    check_table(table.parts[0].table)
    assert table.is_labelled == known.splits[split].labelled
    paths = [table.image_path(row) for row in range(table.image_count)]
    assert all((root / known.image_root / path).is_file() for path in paths)
    if not known.image_root:
        assert {path.split("/")[0] for path in paths} == {known.splits[split].image_folder}


def read(tmp_path, content):
    file = tmp_path / "file.json"
    file.write_text(json.dumps(content))
    return read_table([file])


AOKVQA = {
    "split": "train",
    "image_id": 299207,
    "question_id": "22MexNkBPpdZGX6sxbxVBH",
    "question": "What is the man by the bags awaiting?",
    "choices": ["skateboarder", "train", "delivery", "cab"],
    "correct_choice_idx": 3,
    "direct_answers": ["ride"] * 3 + ["cab"] * 4 + ["bus", "bus", "Cab"],
    "difficult_direct_answer": False,
    "rationales": ["A cab stands there."],
}


def test_aokvqa(tmp_path):
    table = read(tmp_path, [AOKVQA])
    assert table[0] == Question(
        AOKVQA["question_id"],
        AOKVQA["question"],
        "train2017/000000299207.jpg",
        {"cab": 1.0, "ride": 1.0, "bus": 0.666667, "Cab": 0.333333},
    )
    assert next(iter(table[0].answers)) == "cab"  # of the best, the correct choice is the main one
    assert list(table.choices()) == [tuple(AOKVQA["choices"])]
    assert table.correct_choices() == ["cab"] and table.kinds() == {"difficult": ["no"]}
    unlabelled = {key: AOKVQA[key] for key in ("split", "image_id", "question_id", "question")}
    table = read(tmp_path, [{**unlabelled, "choices": ["a", "b"], "split": "test"}])
    assert table.correct_choices() is None and not table.is_labelled
    assert list(table.choices()) == [("a", "b")]


VIZWIZ = {
    "image": "VizWiz_val_00000028.jpg",
    "question": "What is this?",
    "answers": [
        {"answer": answer, "answer_confidence": sure}
        for answer, sure in [("can", "yes")] * 8 + [("soda", "maybe"), ("soda", "no")]
    ],
    "answer_type": "other",
    "answerable": 1,
}


def test_vizwiz(tmp_path):
    table = read(tmp_path, [VIZWIZ])
    image = VIZWIZ["image"]
    answers = {"can": 1.0, "soda": 0.6}
    assert table[0] == Question(image, "What is this?", f"val/{image}", answers)
    assert table.kinds() == {"answer_type": ["other"], "answerable": ["yes"]}
    assert list(table.annotators()) == [("can",) * 8 + ("soda",) * 2]
    # A list of one's own about its images, with ids.
    table = read(tmp_path, [{"image": image, "question": "?", "answer": "a", "question_id": 1}])
    assert table.formats == ["a list of questions"]


GENOME_QA = {
    "a_objects": [],
    "question": "Where is it?",
    "image_id": 2411,
    "qa_id": 986768,
    "answer": "On the wall.",
    "q_objects": [],
}


def test_visual_genome(tmp_path):
    other = {**GENOME_QA, "qa_id": 5, "answer": "The."}
    table = read(tmp_path, [{"id": 2411, "qas": [GENOME_QA, other]}, {"id": 3, "qas": []}])
    assert table[0] == Question(986768, "Where is it?", "2411.jpg", {"on wall": 1.0})
    assert table[1].answers == {} and table.is_labelled  # without a word


TEXTVQA = {
    "question": "what is the brand?",
    "image_id": "0054c91397f2fe05",
    "question_id": 0,
    "answers": ["nous les gosses"] * 4 + ["dakota"] * 6,
    "set_name": "train",
}
STVQA = {
    "file_path": "coco-text/COCO_train2014_000000450569.jpg",
    "question": "What does it say?",
    "question_id": 7,
    "answers": ["STOP", "stop ", "Halt"],
}


def test_textvqa_and_stvqa(tmp_path):
    table = read(tmp_path, {"dataset_name": "textvqa", "data": [TEXTVQA]})
    image = "train_images/0054c91397f2fe05.jpg"
    answers = {"dakota": 1.0, "nous les gosses": 1.0}
    assert table[0] == Question(0, TEXTVQA["question"], image, answers)
    table = read(tmp_path, {"data": [STVQA], "dataset_name": "st-vqa"})
    answers = {"stop": 1.0, "halt": 1.0}
    assert table[0] == Question(7, "What does it say?", STVQA["file_path"], answers)


def without(row, key):
    return {name: value for name, value in row.items() if name != key}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{**AOKVQA, "correct_choice_idx": 4}], r"question 0 has the correct_choice_idx 4; expec"),
        ([{**AOKVQA, "correct_choice_idx": "3"}], r"question 0 has the correct_choice_idx '3'"),
        ([{**AOKVQA, "choices": ["a", 2]}], r"question 0 has the answer 2 \(int\); expected a str"),
        ([{**AOKVQA, "direct_answers": "a"}], r"question 0 has the direct_answers 'a'; expected a"),
        ([{**AOKVQA, "difficult_direct_answer": 0}], r"has difficult_direct_answer 0; expected tr"),
        (
            [{**AOKVQA, "split": "dev"}],
            r"question 0 has the split 'dev'; expected train, val, test",
        ),
        ([{**AOKVQA, "image_id": "a"}], r"question 0 has the image_id 'a'; expected COCO's number"),
        (
            [AOKVQA, without({**AOKVQA, "question_id": "b"}, "correct_choice_idx")],
            r"1 of 2 questions have a right choice; expected all or none",
        ),
        ([{**VIZWIZ, "answerable": True}], r"question 0 has answerable True; expected 0 or 1"),
        ([without(VIZWIZ, "answerable")], r"question 0 has no 'answerable'"),
        (
            [{**VIZWIZ, "answers": [{"answer": "a", "answer_confidence": "sure"}]}],
            r"question 0 has the answer_confidence 'sure'; expected one of yes, maybe, no",
        ),
        ([{**VIZWIZ, "answers": ["a"]}], r"question 0 has the answers \['a'\]; expected a list of"),
        ([VIZWIZ, {**VIZWIZ, "image": "a.jpg"}], r"question 1 has the image 'a.jpg'; expected Viz"),
        ([VIZWIZ, VIZWIZ], r"question id 'VizWiz_val_00000028.jpg' occurs twice"),
        (
            [VIZWIZ, without({**VIZWIZ, "image": "VizWiz_val_1.jpg"}, "answers")],
            r"1 of 2 questions have answers; expected all or none\. Question 1 is the first that",
        ),
        (
            [
                {**AOKVQA, "question_id": "a"},
                {**without(AOKVQA, "direct_answers"), "question_id": "b"},
                {**AOKVQA, "question_id": "c"},
                {**AOKVQA, "question_id": "d"},
            ],
            r"3 of 4 questions have answers; expected all or none\. Question 1 is the first that",
        ),
        (
            {"data": [{**TEXTVQA, "set_name": "testing"}]},
            r"question 0 has the set_name 'testing'; expected one of train, val, test",
        ),
        (
            [{**without(VIZWIZ, "question"), "question": None}],
            r"question 0 has no 'question' \(found 'answer_type', .*, 'answers', 'image'\); add it",
        ),
        ([{"id": 1, "qas": {}}], r"image 0 has the qas {}; expected a list of questions"),
        (
            [{"id": 1, "qas": [without(GENOME_QA, "answer")]}],
            r"image 0, question 0 has no 'answer'",
        ),
        ({"data": [TEXTVQA, {**TEXTVQA, "answers": [1]}]}, r"question 1 has the answer 1 \(int\)"),
        ({"data": [STVQA, {**STVQA, "file_path": 1}]}, r"question 1 has the file_path 1 \(int\)"),
        ({"data": [{"image_id": "a", "ocr_tokens": []}]}, r"expected questions in one of the form"),
    ],
)
def test_bad_content_is_one_error_that_names_the_question(tmp_path, content, message):
    with pytest.raises(AnnotationError, match=rf"file\.json.*{message}"):
        read(tmp_path, content)
