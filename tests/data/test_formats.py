"""Each format is recognised by its content, and says the same of the same split."""

import gzip
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from clipvil_mmf.data.formats import read_columns, read_table, recognise
from clipvil_mmf.data.questions import AnnotationError, Question
from clipvil_mmf.data.vqa_normalize import normalize_answer
from clipvil_mmf.plain_pickle import PlainUnpickler

FIXTURES = Path(__file__).parents[1] / "fixtures"
VQA, GQA = FIXTURES / "vqa2", FIXTURES / "gqa"
OFFICIAL = [
    VQA / "v2_OpenEnded_mscoco_train2014_questions.json",
    VQA / "v2_mscoco_train2014_annotations.json",
]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (OFFICIAL[0], "official VQA v2 JSON"),
        (VQA / "v2_OpenEnded_mscoco_test2015_questions.json", "official VQA v2 JSON"),
        (VQA / "train.json", "LXMERT JSON"),
        (VQA / "test.json", "LXMERT JSON"),
        (GQA / "train_balanced_questions.json", "official GQA JSON"),
        (GQA / "submission_all_questions.json", "official GQA JSON"),
        (GQA / "testdev.json", "LXMERT JSON"),
        (GQA / "submission.json", "LXMERT JSON"),
        (VQA / "v2_OpenEnded_mscoco_val2014_questions.json", "official VQA v2 JSON"),
        (VQA / "v2_OpenEnded_mscoco_test-dev2015_questions.json", "official VQA v2 JSON"),
        (FIXTURES / "own" / "questions.json", "a list of questions"),
    ],
)
def test_a_format_is_recognised_by_its_content(path, name, tmp_path):
    renamed = tmp_path / "renamed.json"
    renamed.write_bytes(path.read_bytes())
    assert name == recognise(renamed).NAME


@pytest.mark.parametrize("key", ["id", "question_id"])
@pytest.mark.parametrize("text", ["sentence", "hypothesis", "question"])
def test_statements_with_a_class_are_a_list_of_questions(tmp_path, key, text):
    rows = [{key: "a#0", "image": "a.jpg", text: "A dog.", "label": "neutral"}]
    (tmp_path / "file.json").write_text(json.dumps(rows))
    (question,) = read_table([tmp_path / "file.json"])
    assert question == Question("a#0", "A dog.", "a.jpg", {"neutral": 1.0})


def test_official_and_lxmert_files_of_a_split_agree():
    official, lxmert = read_table(OFFICIAL), read_table([VQA / "train.json"])
    known = set(json.loads((VQA / "trainval_label2ans.json").read_text()))
    ours = {q.question_id: q for q in official}
    theirs = {q.question_id: q for q in lxmert}
    assert ours.keys() == theirs.keys()
    for key, question in theirs.items():
        assert ours[key].image == question.image
        assert ours[key].text == question.text
        in_vocabulary = {a: s for a, s in ours[key].answers.items() if a in known}
        assert in_vocabulary == pytest.approx(question.answers)
    assert official.annotators() is not None
    assert set(official.kinds()) == {"question_type", "answer_type"}


def test_soft_scores_are_those_of_leave_one_out():
    annotations = json.loads(OFFICIAL[1].read_text())["annotations"]
    answers = {q.question_id: q.answers for q in read_table(OFFICIAL)}
    seen = set()
    for row in annotations:
        given = [normalize_answer(answer["answer"]) for answer in row["answers"]]
        for answer, score in answers[row["question_id"]].items():
            count = sum(text == answer for text in given)
            seen.add(min(count, 4))
            assert score == pytest.approx({1: 0.3, 2: 0.6, 3: 0.9}.get(count, 1.0))
    assert len(seen) > 1


def test_mmf_npy_says_what_the_official_files_say():
    (file,) = (VQA / "defaults").rglob("imdb_train2014.npy")
    npy = {q.question_id: q for q in read_table([file])}
    official = {q.question_id: q for q in read_table(OFFICIAL)}
    assert npy.keys() == official.keys()
    assert all(npy[key].image == official[key].image for key in npy)


def test_gqa_ids_stay_strings_and_types_are_kept():
    table = read_table([GQA / "train_balanced_questions.json"])
    assert all(isinstance(key, str) for key in table.ids())
    assert any(key.startswith("0") for key in table.ids())
    assert set(table.kinds()) >= {"structural", "semantic"}


def test_ids_beyond_32_bits(tmp_path):
    file = tmp_path / "q.json"
    rows = [{"question_id": 2**40 + i, "image": "a.jpg", "question": "?"} for i in range(2)]
    file.write_text(json.dumps(rows))
    assert read_table([file]).ids() == [2**40, 2**40 + 1]


class _Foreign:
    def __reduce__(self):
        return print, ("this must not run",)


def test_a_pickle_that_runs_code_is_refused(tmp_path, capsys):
    file = tmp_path / "imdb.npy"
    rows = np.empty(2, dtype=object)
    rows[0], rows[1] = {"header": 1}, _Foreign()
    with file.open("wb") as out:
        np.lib.format.write_array_header_1_0(
            out, {"descr": "|O", "fortran_order": False, "shape": (2,)}
        )
        pickle.dump(rows, out)
    with pytest.raises(AnnotationError, match=r"imdb\.npy"):
        read_table([file])
    assert "must not run" not in capsys.readouterr().out


def test_a_question_without_annotation_is_named(tmp_path):
    annotations = json.loads(OFFICIAL[1].read_text())
    lost = annotations["annotations"].pop()["question_id"]
    file = tmp_path / "annotations.json"
    file.write_text(json.dumps(annotations))
    with pytest.raises(AnnotationError, match=str(lost)):
        read_table([OFFICIAL[0], file])


@pytest.mark.parametrize("split", ["train", "testdev"])
def test_gqa_official_and_lxmert_files_agree(split):
    official = read_table([GQA / f"{split}_balanced_questions.json"])
    lxmert = read_table([GQA / f"{split}.json"])
    ours = {q.question_id: q for q in official}
    theirs = {q.question_id: q for q in lxmert}
    assert ours == theirs


def test_npy_files_have_the_answers_of_the_official_ones():
    npy = GQA / "defaults" / "annotations" / "train_balanced_questions.npy"
    official = GQA / "train_balanced_questions.json"
    ours = {q.question_id: q for q in read_table([npy])}
    assert ours == {q.question_id: q for q in read_table([official])}
    npy = VQA / "defaults" / "annotations" / "imdb_train2014.npy"
    ours = {q.question_id: q for q in read_table([npy])}
    for question in read_table(OFFICIAL):
        assert ours[question.question_id].text == question.text
        assert ours[question.question_id].answers == pytest.approx(question.answers)


ROW = {"question_id": 1, "img_id": "a", "sent": "?"}
VQA_ROW = {"question_id": 1, "question": "?", "image_id": [1]}


@pytest.mark.parametrize(
    "content",
    [
        '[{"question_id": 1, "img_id": "a", "se',
        json.dumps([{"img_id": "a", "sent": "?"}]),
        json.dumps([{**ROW, "question_id": None}]),
        json.dumps([{**ROW, "question_id": [1]}]),
        json.dumps([{**ROW, "question_id": 2**70}]),
        json.dumps([ROW, ROW]),
        json.dumps([ROW, {**ROW, "question_id": "b"}]),
        json.dumps([{**ROW, "label": {"a": 2}}]),
        json.dumps([ROW, 3]),
        json.dumps({"data_subtype": "train2014", "questions": [VQA_ROW]}),
        '{"questions": [{"question": "?", "image_id": 1}]}',
        '{"questions": []}',
        '{"hello": 1}',
        "[]",
        "3",
        "",
    ],
)
def test_bad_content_is_one_error_that_names_the_file(tmp_path, content):
    file = tmp_path / "bad.json"
    file.write_text(content)
    with pytest.raises(AnnotationError, match=r"bad\.json"):
        read_table([file])


@pytest.mark.parametrize("size", [0, 5, 60, 200, -3])
def test_a_truncated_npy_file_is_named(tmp_path, size):
    whole = VQA / "defaults" / "annotations" / "imdb_train2014.npy"
    file = tmp_path / "bad.npy"
    file.write_bytes(whole.read_bytes()[:size])
    with pytest.raises(AnnotationError, match=r"bad\.npy"):
        read_table([file])


PLAIN = {"question_id": 1, "image": "a.jpg", "question": "?", "answer": "red"}
OFFICIAL_ROW = {"imageId": "1", "question": "?", "answer": "yes"}
HALF = "what \ud83d?"


def wrong(**change):
    return [PLAIN, {**PLAIN, "question_id": 2, **change}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            wrong(question=float("nan")),
            r"question 1 has the question nan \(float\); expected a str",
        ),
        (wrong(question=["what"]), r"question 1 has the question \['what'\] \(list\); expected"),
        (wrong(question={"a": 1}), r"question 1 has the question {'a': 1} \(dict\); expected"),
        (wrong(question=HALF), r"question 1 has the question 'what .ud83d\?' .* half of a char"),
        (wrong(answer=HALF), r"question 1 has the answer .* half of a character"),
        (wrong(answer=0), r"question 1 has the answer 0 \(int\); expected a string"),
        (wrong(label=2), r"question 1 has the label 2 \(int\); expected a string"),
        (wrong(answer=["red"]), r"question 1 has the answer \['red'\] \(list\); expected a string"),
        (
            wrong(answers=["red"] * 9 + [None]),
            r"question 1 has the answer None .*expected a string",
        ),
        (wrong(answers={HALF: 1.0}), r"question 1 has the answer .* half of a character"),
        (wrong(image=1.5), r"question 1 has the image 1.5 \(float\); expected a string"),
        (wrong(image=True), r"question 1 has the image True \(bool\); expected a string"),
        (wrong(question_id=HALF), r"question 1 has the question_id .* half of a character"),
        (wrong(question_type=[1]), r"question 1 has the question_type \[1\] \(list\)"),
        ([{**ROW, "sent": 3}], r"question 0 has the sent 3 \(int\); expected a string"),
        ([{**ROW, "img_id": None}], r"question 0 has no 'img_id'"),
        ([{**ROW, "label": {"red": float("nan")}}], r"question 0 gives the answer 'red' the sc"),
        ({"7": {**OFFICIAL_ROW, "question": 1}}, r"question '7' has the question 1 \(int\)"),
        ({"7": {**OFFICIAL_ROW, "answer": 1}}, r"question '7' has the answer 1 \(int\)"),
        ({"7": {**OFFICIAL_ROW, "types": "query"}}, r"question '7' has the types 'query'"),
        ({"7": {**OFFICIAL_ROW, "isBalanced": "no"}}, r"question '7' has isBalanced 'no'"),
        ({HALF: OFFICIAL_ROW}, r"question .* has the id .* half of a character"),
    ],
)
def test_a_field_of_another_type_is_named(tmp_path, content, message):
    file = tmp_path / "bad.json"
    file.write_text(json.dumps(content))
    with pytest.raises(AnnotationError, match=rf"bad\.json: {message}"):
        read_table([file])


def test_names_of_images_and_kinds_may_be_numbers(tmp_path):
    file = tmp_path / "q.json"
    file.write_text(json.dumps([{**PLAIN, "image": 7, "question_type": 3}]))
    table = read_table([file])
    assert table.image_path(0) == "7" and table.kinds() == {"question_type": ["3"]}


def official(tmp_path, said, image_id=9, **changes):
    """Questions 1, 2, ... with these answers of people each, in VQA's two files."""
    questions = [
        {"question_id": i, "image_id": image_id, "question": "what?"}
        for i in range(1, len(said) + 1)
    ]
    annotations = [
        {
            **{"question_id": i, "question_type": "what", "answer_type": "other"},
            "answers": [{"answer": answer, "answer_id": n} for n, answer in enumerate(given)],
            **changes,
        }
        for i, given in enumerate(said, 1)
    ]
    files = [tmp_path / "q.json", tmp_path / "a.json"]
    files[0].write_text(json.dumps({"data_subtype": "train2014", "questions": questions}))
    files[1].write_text(json.dumps({"annotations": annotations}))
    return files


def test_ok_vqa_has_no_main_answer(tmp_path):
    files = official(tmp_path, [["red"] * 2 + ["blue"] * 8, ["a dog", "Dog", "cat"]])
    first, second = read_table(files)
    assert list(first.answers.items()) == [("blue", 1.0), ("red", pytest.approx(0.6))]
    # As vqaEval.py: (1 * 1/3 + 1 * 1/3 + 1 * 2/3) / 3 of three people.
    assert list(second.answers) == ["dog", "cat"]
    assert second.answers["dog"] == pytest.approx(4 / 9, abs=1e-5)


@pytest.mark.parametrize(
    ("answers", "changes", "message"),
    [
        ([["red"], []], {}, r"a\.json: annotation 1 has no answers: the list is empty"),
        ([["red"], [2]], {}, r"a\.json: annotation 1 has the answer 2 \(int\); expected a string"),
        ([["red"], [None]], {}, r"a\.json: annotation 1 has the answer None"),
        ([["red"]], {"answers": "red"}, r"a\.json: annotation 0 has the answers 'red'; expected"),
        (
            [["red"]],
            {"multiple_choice_answer": ["red"]},
            r"annotation 0 has the multiple_choice_an",
        ),
        ([["red"]], {"question_type": 1.5}, r"annotation 0 has the question_type 1.5"),
        ([["red"]], {"answer_type": None}, r"annotation 0 has no 'answer_type'"),
        ([["red"]], {"image_id": "COCO_train2014_000000000009"}, r"q\.json: a question has the im"),
    ],
)
def test_bad_annotations_are_named(tmp_path, answers, changes, message):
    changes = dict(changes)
    files = official(tmp_path, answers, image_id=changes.pop("image_id", 9), **changes)
    with pytest.raises(AnnotationError, match=message):
        read_table(files)


def npy(tmp_path, *rows, dataset="vqa"):
    file = tmp_path / "imdb.npy"
    entry = {"question_id": 1, "question_str": "what?", "image_id": 9}
    content = [
        {"dataset_name": dataset},
        *({**entry, "question_id": i} | r for i, r in enumerate(rows)),
    ]
    np.save(file, np.array(content, dtype=object), allow_pickle=True)
    return [file]


@pytest.mark.parametrize("key", ["valid_answers", "all_answers", "answers"])
def test_npy_answers_under_each_of_their_keys(tmp_path, key):
    (question,) = read_table(npy(tmp_path, {key: ["red"] * 10}))
    assert question.answers == {"red": 1.0}


@pytest.mark.parametrize(
    ("row", "dataset", "message"),
    [
        ({"valid_answers": [None] * 10}, "vqa", "entry 2 has the answer None .*expected a string"),
        ({"valid_answers": "red"}, "vqa", "entry 2 has the valid_answers 'red'; expected a list"),
        (
            {"valid_answers": None, "answers": [1] * 10},
            "vqa",
            r"entry 2 has the answer 1 \(int\); expected a string",
        ),
        ({"valid_answers": []}, "gqa", "entry 2 has no valid_answers: the list is empty"),
        ({"question_str": ["what"]}, "vqa", "entry 2 has the question_str .*expected a string"),
        ({"image_name": 3}, "vqa", "entry 2 has the image_name 3 .*expected a string"),
        ({"image_id": 1.5}, "vqa", "entry 2 has the image_id 1.5 .*expected a string"),
    ],
)
def test_a_bad_npy_entry_is_named(tmp_path, row, dataset, message):
    good = {"valid_answers": ["red"] * 10}
    with pytest.raises(AnnotationError, match=rf"imdb\.npy: {message}"):
        read_table(npy(tmp_path, good, {**good, **row}, dataset=dataset))


def test_nested_too_deeply(tmp_path):
    file = tmp_path / "deep.json"
    file.write_text('[{"question_id": 1, "question": ' + "[" * 100_000)
    with pytest.raises(AnnotationError, match=r"deep\.json: its objects and lists are nested too"):
        read_table([file])


def test_files_with_a_byte_order_mark_in_lines_and_packed(tmp_path):
    rows = [PLAIN, {**PLAIN, "question_id": 2, "question": "où?"}]
    text = json.dumps(rows, ensure_ascii=False)
    lines = "\n".join(json.dumps(row) for row in rows) + "\n\n"
    contents = {
        "plain.json": text.encode(),
        "marked.json": text.encode("utf-8-sig"),
        "packed.json.gz": gzip.compress(text.encode("utf-8-sig")),
        "lines.jsonl": lines.encode(),
        "lines.jsonl.gz": gzip.compress(lines.encode()),
    }
    read = []
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        read.append(list(read_table([tmp_path / name])))
    assert all(questions == read[0] for questions in read) and len(read[0]) == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.json", json.dumps([PLAIN]).encode("utf-16"), "is in UTF-16 or UTF-32; expected UTF-8"),
        ("q.json", json.dumps([PLAIN]).encode("utf-16-be"), "is in UTF-16 or UTF-32; expected"),
        ("q.json", gzip.compress(json.dumps([PLAIN]).encode("utf-16")), "is in UTF-16"),
        ("q.json", '[{"question": "où"}]'.encode("latin-1"), "is not valid JSON .*utf-8"),
        ("q.json.gz", gzip.compress(json.dumps([PLAIN] * 99).encode())[:-20], "is not valid JSON"),
        ("q.json.gz", gzip.compress(b"[1]")[:5], "cannot be read"),
        ("q.json", b'{"imageId": 1}\n{"imageId": 2}\n', "its name has to end in .jsonl"),
    ],
)
def test_what_is_not_text_in_utf_8_is_named(tmp_path, name, content, message):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(AnnotationError, match=rf"{name}.*{message}"):
        read_table([file])


def pickled_npy(path: Path, pickled: bytes, shape: tuple[int, ...] = (2,)) -> Path:
    """An npy file of objects with this pickle in it."""
    with path.open("wb") as out:
        header = {"descr": "|O", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(out, header)
        out.write(pickled)
    return path


class _Call:
    """Pickled as a call of what an annotation may name, with arguments that are not right."""

    def __init__(self, function, *args, state=None):
        self.value = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.value


_RECONSTRUCT = np._core.multiarray._reconstruct
_EMPTY = (np.ndarray, (0,), b"b")
_OBJECT, _FLOAT = np.dtype(object), np.dtype("f8")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (_Call(np.ndarray, (3,), _OBJECT, bytearray(24)), "bytearray"),
        (_Call(np.ndarray, (3,), _OBJECT), "not callable"),
        (_Call(_RECONSTRUCT, *_EMPTY, state=(1, (9,), _OBJECT, False, [1])), "does not fit"),
        (_Call(_RECONSTRUCT, *_EMPTY, state=(1, (2**40,), _OBJECT, False, [1])), "does not fit"),
        (_Call(_RECONSTRUCT, *_EMPTY, state=(1, (-1,), _OBJECT, False, [])), r"shape \(-1,\)"),
        (_Call(_RECONSTRUCT, *_EMPTY, state=(1, (1,), _OBJECT, False, bytes(8))), "a bytes in it"),
        (_Call(_RECONSTRUCT, *_EMPTY, state=(1, (1,), _FLOAT, False, bytes(7))), "does not fit"),
        (_Call(_RECONSTRUCT, *_EMPTY, state=(1, (1,), 3, False, bytes(7))), "unknown type"),
        (np.zeros(2, dtype=[("a", "i4")]), "array of 'V4'"),
        (_Call(np._core.multiarray.scalar, _FLOAT, bytes(3)), "does not fit"),
        (_Call(bytearray, 10**9), "bytearray"),
        (_Call(set, range(3)), "range"),
        (10 ** (10**3), "operation 139"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_arrays_are_built_after_a_check(tmp_path, value, message, protocol):
    """Such pickles end a process that lets numpy build them, or ask for all memory."""
    file = pickled_npy(tmp_path / "bad.npy", pickle.dumps([value], protocol))
    with pytest.raises(AnnotationError, match=rf"bad\.npy.*({message})"):
        read_table([file])


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02]r\xff\xff\xff\xf0.",  # number of an object: 64 GB of memory
        b"\x80\x04\x96\x00\x00\x00\x00\x10\x00\x00\x00.",  # a bytearray of 64 GB
        b"\x80\x04\x8e\x00\x00\x00\x00\x10\x00\x00\x00abc.",
        b"\x80\x04B\xff\xff\xff\xffabc.",
        b"\x80\x02" + b"(" * 100_000 + b".",
        b"\x80\x02\xff.",
        b"",
    ],
)
def test_lengths_of_a_pickle_have_to_be_right(tmp_path, pickled):
    with pytest.raises(AnnotationError, match=r"bad\.npy cannot be read"):
        read_table([pickled_npy(tmp_path / "bad.npy", pickled)])


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_arrays_in_annotations_are_read(tmp_path, protocol):
    row = {
        "question_id": np.int64(2**40),
        "question_str": np.str_("what färbt?"),
        "image_id": np.int32(7),
        "image_name": "COCO_train2014_000000000007",
        "all_answers": np.array(["red"] * 10),
        "valid_answers": np.array(["red"] * 10, dtype=object),
        "ocr": {"boxes": np.arange(6.0).reshape(2, 3).T, "seen": {1, 2}, "raw": b"\xff"},
    }
    rows = np.empty(2, dtype=object)
    rows[:] = [{"dataset_name": "vqa"}, row]
    (question,) = read_table([pickled_npy(tmp_path / "q.npy", pickle.dumps(rows, protocol))])
    assert (question.question_id, question.text) == (2**40, "what färbt?")
    assert question.image == "train2014/COCO_train2014_000000000007.jpg"
    assert question.answers == {"red": 1.0}


def test_plain_pickles_give_what_python_gives():
    value = {
        "turned": np.arange(6.0).reshape(2, 3).T,
        "big_endian": np.arange(3, dtype=">i4"),
        "objects": np.array([[1, "a"], [None, {2}]], dtype=object),
        "nothing": np.zeros((0, 5), np.float16),
        "single": np.array({"a": 1}, dtype=object),
        "scalars": [np.float32(0.1), np.bool_(True), np.str_("ab"), np.complex64(1j)],
        "sets": [{1}, frozenset("a")],
    }
    for protocol in (2, 3, 4):
        pickled = pickle.dumps(value, protocol)
        read = PlainUnpickler(pickled).load()
        for name, expected in pickle.loads(pickled).items():
            assert np.array_equal(np.asarray(read[name]), np.asarray(expected)), name
            assert np.asarray(read[name]).dtype == np.asarray(expected).dtype, name
        assert repr(read["scalars"]) == repr(value["scalars"])


@pytest.mark.parametrize(
    "row",
    [
        {**ROW, "label": {"a": None}},
        {**ROW, "sent": [[]], "label": [1]},
        {**ROW, "question_id": {"a": 1}},
        [[]] * 3,
    ],
)
def test_odd_types_are_an_error_that_names_the_file(tmp_path, row):
    file = tmp_path / "bad.json"
    file.write_text(json.dumps([row]))
    with pytest.raises(AnnotationError, match=r"bad\.json"):
        read_table([file])
    rows = np.empty(2, dtype=object)
    rows[:] = [{}, {"question_id": 1, "question_str": "?", "image_id": 1, "all_answers": 3}]
    with pytest.raises(AnnotationError, match=r"bad\.npy"):
        read_table([pickled_npy(tmp_path / "bad.npy", pickle.dumps(rows))])


@pytest.mark.parametrize("key", [["a"], {}, 1.5, True])
def test_an_id_that_is_neither_a_number_nor_a_string_is_named(tmp_path, key):
    files = official(tmp_path, [["red"]])
    content = json.loads(files[0].read_text())
    content["questions"][0]["question_id"] = key
    files[0].write_text(json.dumps(content))
    with pytest.raises(
        AnnotationError, match=r"q\.json: question 0 has the question_id .*; expected"
    ):
        read_table(files)


def test_annotations_beside_a_file_that_has_none_are_named(tmp_path):
    files = official(tmp_path, [["red"]])
    files[0].write_text(json.dumps([ROW]))
    with pytest.raises(AnnotationError, match=r"q\.json is of the format .*, but \S*a\.json is"):
        read_table(files)


def test_a_source_of_sentences_has_to_be_text(tmp_path):
    file = tmp_path / "mscoco_train.json"
    file.write_text(json.dumps([{"img_id": "1", "sentf": {"a\ud800": ["A dog."]}}]))
    with pytest.raises(AnnotationError, match=r"record 0 has the source .* half of a character"):
        read_table([file])


def test_long_values_are_cut_in_messages(tmp_path):
    file = tmp_path / "long.json"
    odd = [{"question_id": "x" * 9999}, {"label": {"a": "x" * 9999}}, {"x" * 9999: 1, "sent": None}]
    for change in odd:
        file.write_text(json.dumps([ROW, {**ROW, "question_id": 2, **change}]))
        with pytest.raises(AnnotationError) as caught:
            read_table([file])
        assert len(str(caught.value)) < 500


def test_deep_json_is_an_error_that_names_the_file(tmp_path):
    file = tmp_path / "deep.json"
    file.write_text("[" * 100_000)
    with pytest.raises(AnnotationError, match=r"deep\.json"):
        read_table([file])


def test_the_former_name_of_the_reader_is_taken():
    assert list(read_columns(OFFICIAL).questions()) == list(read_table(OFFICIAL))
