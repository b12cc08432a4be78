"""`clipvil score`, on files in the official formats; every number worked by hand."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clipvil_mmf.cli.main import app
from clipvil_mmf.data import easy_vqa_files

# Questions 10 to 14 of VQA v2: id -> (answer type, question type, ten answers).
VQA = {
    10: ("yes/no", "is the", ["yes"] * 10),
    11: ("yes/no", "is the", ["yes"] * 3 + ["no"] * 7),
    12: ("number", "how many", ["2"] * 4 + ["three"] * 6),
    13: ("other", "what is the", ["a dog", "Dog", "dog.", *["cat"] * 7]),
    14: ("other", "what is the", ["red, white"] * 2 + ["red"] * 8),
}
# Official GQA questions: id -> (answer, structural type, semantic type).
GQA = {
    "05451384": ("yes", "verify", "attr"),
    "05451385": ("no", "logical", "obj"),
    "05451386": ("left", "choose", "rel"),
    "05451387": ("dog", "query", "cat"),
    "05451388": ("hydrant", "query", "cat"),
}


def run(*arguments):
    return CliRunner().invoke(app, ["score", *map(str, arguments)])


def write(path: Path, content) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def official(questions):
    return {"task_type": "Open-Ended", "data_subtype": "val2014", "questions": questions}


@pytest.fixture
def vqa(tmp_path):
    """Official question and annotation file of VQA v2's validation split."""
    questions = [{"question_id": key, "question": "?", "image_id": 1} for key in VQA]
    annotations = [
        {
            "question_id": key,
            "image_id": 1,
            "answer_type": answer_type,
            "question_type": question_type,
            "multiple_choice_answer": answers[0],
            "answers": [
                {"answer": answer, "answer_confidence": "yes", "answer_id": i + 1}
                for i, answer in enumerate(answers)
            ],
        }
        for key, (answer_type, question_type, answers) in VQA.items()
    ]
    folder = tmp_path / "vqa2"
    return (
        write(folder / "v2_OpenEnded_mscoco_val2014_questions.json", official(questions)),
        write(folder / "v2_mscoco_val2014_annotations.json", {"annotations": annotations}),
    )


@pytest.fixture
def gqa(tmp_path):
    """Official GQA questions, and one outside the balanced split."""
    rows = {
        key: {
            "imageId": "1",
            "question": "?",
            "answer": answer,
            "isBalanced": True,
            "types": {"structural": structural, "semantic": semantic, "detailed": "x"},
        }
        for key, (answer, structural, semantic) in GQA.items()
    }
    rows["99"] = {**rows["05451384"], "isBalanced": False}
    return write(tmp_path / "gqa" / "testdev_balanced_questions.json", rows)


def vqa_rows(answers):
    return [{"question_id": key, "answer": answer} for key, answer in answers.items()]


def gqa_rows(answers):
    return [{"questionId": key, "prediction": answer} for key, answer in answers.items()]


# 10: all agree, "yes" matches: 1. 11: "Yes" is normalised, 3 of 10: 0.9. 12: "two" -> 2, 4 of 10:
# 1. 13: "the dog" -> dog, 3 of 10: 0.9. 14: "red white", 2 of 10: 0.6.
GIVEN = {10: "yes", 11: "Yes", 12: "two", 13: "the dog", 14: "red white"}
ACCURACIES = {10: 1.0, 11: 0.9, 12: 1.0, 13: 0.9, 14: 0.6}


def test_vqa_v2_official_files(tmp_path, vqa):
    file = write(tmp_path / "p.json", vqa_rows(GIVEN))
    result = run(file, "--questions", vqa[0], "--annotations", vqa[1], "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "rule": "official VQA accuracy, ten annotators",
        "overall": {"accuracy": 88.0, "questions": 5},  # (1 + .9 + 1 + .9 + .6) / 5
        "missing": 0,
        "groups": {
            "answer type": {
                "yes/no": {"accuracy": 95.0, "questions": 2},
                "number": {"accuracy": 100.0, "questions": 1},
                "other": {"accuracy": 75.0, "questions": 2},
            },
            "question type": {
                "is the": {"accuracy": 95.0, "questions": 2},
                "how many": {"accuracy": 100.0, "questions": 1},
                "what is the": {"accuracy": 75.0, "questions": 2},
            },
        },
    }


def test_percentages_have_two_decimals_as_in_the_official_evaluation(tmp_path, vqa):
    file = write(tmp_path / "p.json", vqa_rows({10: "yes", 11: "no", 12: "three"}))
    result = run(file, "--questions", vqa[0], "--annotations", vqa[1])
    lines = [re.sub(r"\s+", " ", line) for line in result.stdout.splitlines()]
    assert "│ all questions │ 60.00 │ 5 │" in lines  # 3 / 5
    assert "│ other │ 0.00 │ 2 │" in lines
    assert "questions without a prediction, counted as wrong: 2" in lines


def test_the_largest_question_types_first(tmp_path, vqa):
    file = write(tmp_path / "p.json", vqa_rows(GIVEN))
    result = run(file, "--questions", vqa[0], "--annotations", vqa[1], "--top", "1")
    assert "is the" in result.stdout and "how many" not in result.stdout
    assert "... and 2 more (--top 3)" in result.stdout


def test_a_dataset_by_name(tmp_path, vqa, gqa):
    file = write(tmp_path / "p.json", vqa_rows(GIVEN))
    result = run(file, "--questions", "vqa2", "--root", vqa[0].parent, "--json")
    assert json.loads(result.stdout)["overall"]["accuracy"] == 88.0
    file = write(tmp_path / "g.json", gqa_rows({"05451384": "yes"}))
    result = run(file, "--questions", "gqa", "--split", "testdev", "--root", gqa.parent, "--json")
    assert json.loads(result.stdout)["overall"] == {"accuracy": 20.0, "questions": 5}


def test_lxmert_files(tmp_path):
    labels = [{"yes": 1.0, "no": 0.3}, {"2": 0.6}, {}]
    kinds = ["yes/no", "number", "other"]
    rows = [
        {
            "question_id": i,
            "img_id": "COCO_val2014_000000000001",
            "sent": "?",
            "label": label,
            "answer_type": kind,
            "question_type": "q",
        }
        for i, (label, kind) in enumerate(zip(labels, kinds, strict=True))
    ]
    questions = write(tmp_path / "minival.json", rows)
    file = write(tmp_path / "p.json", vqa_rows({0: "no", 1: "2", 2: "cat"}))
    result = run(file, "--questions", questions, "--json")
    scores = json.loads(result.stdout)
    assert scores["overall"] == {"accuracy": 30.0, "questions": 3}  # (0.3 + 0.6 + 0) / 3
    assert scores["groups"]["answer type"]["number"] == {"accuracy": 60.0, "questions": 1}


# Right, right, wrong, right; the answer "hydrant" is not in the vocabulary.
GQA_GIVEN = {
    "05451384": "yes",
    "05451385": "no",
    "05451386": "right",
    "05451387": "dog",
    "05451388": "cone",
}


def test_gqa_official_files(tmp_path, gqa):
    file = write(tmp_path / "p.json", gqa_rows(GQA_GIVEN))
    vocab = write(tmp_path / "label2ans.json", ["yes", "no", "left", "right", "dog", "cone"])
    result = run(file, "--questions", gqa, "--vocab", vocab, "--json")
    assert result.exit_code == 0, result.output
    scores = json.loads(result.stdout)
    assert scores["rule"] == "exact match (GQA)"
    assert scores["overall"] == {"accuracy": 60.0, "questions": 5}  # 3 of 5
    assert scores["in_vocabulary"] == {"accuracy": 75.0, "questions": 4}  # 3 of 4
    # Open are the questions of structural type query; all others are binary.
    assert scores["groups"]["binary / open"] == {
        "binary": {"accuracy": 66.67, "questions": 3},
        "open": {"accuracy": 50.0, "questions": 2},
    }
    assert scores["groups"]["structural type"]["query"] == {"accuracy": 50.0, "questions": 2}
    assert scores["groups"]["structural type"]["choose"] == {"accuracy": 0.0, "questions": 1}
    assert scores["groups"]["semantic type"]["cat"] == {"accuracy": 50.0, "questions": 2}


def test_gqa_compares_to_the_letter_and_counts_the_balanced_split_alone(tmp_path, gqa):
    file = write(tmp_path / "p.json", gqa_rows({**GQA_GIVEN, "05451384": "Yes", "99": "yes"}))
    result = run(file, "--questions", gqa)
    assert re.search(r"all questions +│ +40\.00 │ +5 │", result.stdout)
    assert "outside GQA's balanced split, not counted: 1" in result.stdout


def test_gqa_says_how_many_answers_the_vocabulary_lacks(tmp_path, gqa):
    file = write(tmp_path / "p.json", gqa_rows(GQA_GIVEN))
    vocab = write(tmp_path / "answers.txt", "yes\nno\nleft\ndog\n")
    result = run(file, "--questions", gqa, "--vocab", vocab)
    assert "questions whose answer is not among the vocabulary's answers: 1" in result.stdout
    assert re.search(r"as published: answer in the vocabulary +│ +75\.00 │ +4 │", result.stdout)


def test_easy_vqa(tmp_path):
    questions = easy_vqa_files.read_questions("test")
    rows = [{"question_id": q.question_id, "answer": next(iter(q.answers))} for q in questions]
    file = write(tmp_path / "p.json", rows[:-1])
    result = run(file, "--questions", "easy_vqa")  # its test split, as for the other commands
    assert "99.99" in result.stdout and "counted as wrong: 1" in result.stdout


def test_rows_in_the_other_layout_are_read_when_named(tmp_path, gqa):
    rows = [{"question_id": key, "answer": answer} for key, answer in GQA_GIVEN.items()]
    file = write(tmp_path / "p.json", rows)
    assert run(file, "--questions", gqa).exit_code == 0  # by the fields of the first row
    assert run(file, "--questions", gqa, "--format", "gqa").exit_code == 1
    assert run(file, "--questions", gqa, "--format", "vqa").exit_code == 0


BAD = [
    ([], "holds no predictions"),
    ([{"question_id": 99, "answer": "yes"}], "does not fit .* ids of no question: 1, .* 99"),
    ([{"question_id": "10", "answer": "yes"}], r"wrong type \(expected int\): 1"),
    ([{"question_id": 10, "answer": 1}], "answers that are not strings: 1"),
    (vqa_rows({10: "yes"}) * 2, "answered more than once: 1, such as question 10: 2 times"),
    ({"10": "yes"}, "holds a JSON dict; expected a list"),
    ('[{"question_id": 10,', "not valid JSON .* cut off"),
]


@pytest.mark.parametrize(("content", "message"), BAD)
def test_bad_prediction_files(tmp_path, vqa, content, message):
    file = write(tmp_path / "p.json", content)
    result = run(file, "--questions", vqa[0], "--annotations", vqa[1])
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    assert re.match(f"error: .*{message}", line), line


def one_line(result):
    assert result.exit_code == 1
    (line,) = result.output.splitlines()
    return line


def test_bad_ground_truths(tmp_path, vqa, gqa):
    file = write(tmp_path / "p.json", vqa_rows(GIVEN))
    questions, annotations = vqa
    assert "answers are not known; expected a labelled split: give the annotation file as" in (
        one_line(run(file, "--questions", questions))
    )
    assert "has the annotations; expected the file of the questions" in (
        one_line(run(file, "--questions", annotations))
    )
    assert "is not an official VQA question file" in (
        one_line(run(file, "--questions", gqa, "--annotations", annotations))
    )
    rows = [{"question_id": 10, "question": "?", "image_id": 1}]
    other = write(tmp_path / "train.json", official(rows))
    line = one_line(run(file, "--questions", other, "--annotations", annotations))
    assert "does not belong to" in line and "there are 5 annotations" in line
    line = one_line(run(file, "--questions", questions, "--annotations", tmp_path / "none.json"))
    assert "none.json does not exist" in line
    unlabelled = write(tmp_path / "test.json", [{"question_id": 1, "sent": "?", "img_id": "1"}])
    line = one_line(run(file, "--questions", unlabelled))
    assert "answers are not known" in line and "clipvil check-submission" in line
    line = one_line(run(file, "--questions", questions, "--annotations", questions))
    assert str(questions) in line


def test_bad_options(tmp_path, vqa, gqa):
    file = write(tmp_path / "p.json", vqa_rows(GIVEN))
    vocab = write(tmp_path / "ans2label.json", {"yes": 0})
    both = ("--questions", vqa[0], "--annotations", vqa[1])
    assert "--vocab: belongs to GQA" in one_line(run(file, *both, "--vocab", vocab))
    assert "(not ans2label)" in one_line(run(file, "--questions", gqa, "--vocab", vocab))
    line = one_line(run(file, "--questions", gqa, "--vocab", tmp_path / "no.txt"))
    assert "no.txt does not exist" in line
    assert "expected --root DIR" in one_line(run(file, "--questions", "vqa2"))
    line = one_line(run(file, "--questions", "vqa2", "--root", tmp_path, "--split", "minivl"))
    assert "vqa2 has no split 'minivl'" in line and "Did you mean 'minival'?" in line
    line = one_line(run(file, "--questions", "vqa2", "--root", tmp_path, "--split", "minival"))
    assert "its files are not in" in line and "lxmert_data/vqa/minival.json" in line
    line = one_line(run(tmp_path / "none.json", *both))
    assert "none.json does not exist" in line


def test_starts_without_torch_and_mmf():
    program = (
        "import sys, clipvil_mmf.cli.score;"
        "print([m for m in ('torch', 'mmf', 'omegaconf') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=root
    )
    assert done.stdout.strip() == "[]"
