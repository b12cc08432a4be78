"""SNLI-VE's and NLVR2's files: their own, UNITER's and LXMERT's say the same of the same split."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import lmdb
import pyarrow as pa
import pytest

from clipvil_mmf.data.formats import read_table, recognise
from clipvil_mmf.data.message_pack import unpack
from clipvil_mmf.data.questions import AnnotationError, Question
from clipvil_mmf.data.store import open_or_convert
from clipvil_mmf.data.table import QuestionTable
from tests.fixtures.make import lxmert_nlvr2, packed, write_uniter

FIXTURES = Path(__file__).parents[1] / "fixtures"
VE, NLVR2 = FIXTURES / "snli_ve", FIXTURES / "nlvr2"


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


@pytest.fixture
def uniter(tmp_path: Path) -> Path:
    """UNITER's database of the dev split."""
    write_uniter(tmp_path / "ve_dev.db", rows_of(VE / "snli_ve_dev.jsonl"))
    return tmp_path / "ve_dev.db" / "data.mdb"


def test_a_hypothesis_is_about_its_image() -> None:
    row = rows_of(VE / "snli_ve_dev.jsonl")[0]
    question = read_table([VE / "snli_ve_dev.jsonl"])[0]
    assert question == Question(
        row["pairID"], row["sentence2"], f"{row['Flickr30kID']}.jpg", {row["gold_label"]: 1.0}
    )


def test_pairs_without_a_gold_label_are_left_out_and_counted() -> None:
    table = read_table([VE / "snli_ve_train.jsonl"])
    assert len(table) == 24
    ((reason, count),) = table.left_out.items()
    assert count == 1 and "'-'" in reason
    other = read_table([VE / "snli_ve_test.jsonl"])
    assert QuestionTable.concatenate([other, table]).left_out == {reason: 1}


@pytest.mark.parametrize("image", ["36979", "36979.jpg", 36979])
@pytest.mark.parametrize("key", ["Flickr30kID", "Flickr30K_ID"])
def test_both_spellings_of_an_image(tmp_path: Path, key: str, image: object) -> None:
    row = {"pairID": "a", key: image, "sentence2": "A dog.", "gold_label": "neutral"}
    (question,) = read_table([write_lines(tmp_path / "file.jsonl", [row])])
    assert question.image == "36979.jpg"


def test_uniters_database_says_the_same(uniter: Path) -> None:
    own, theirs = read_table([VE / "snli_ve_dev.jsonl"]), read_table([uniter])
    assert recognise(uniter).NAME == "UNITER text database of SNLI-VE"
    assert theirs.ids() == sorted(own.ids())  # as text, whatever their order
    assert {q.question_id: q for q in theirs} == {q.question_id: q for q in own}
    assert theirs.kinds()["label"] == [next(iter(label)) for label in theirs.labels()]


def test_a_damaged_database(uniter: Path) -> None:
    lengths = uniter.with_name("id2len.json")
    ids = json.loads(lengths.read_text())
    lengths.write_text(json.dumps({**ids, "lost": 3}))
    with pytest.raises(AnnotationError, match=r"entry 'lost' is missing, but id2len\.json names"):
        read_table([uniter])
    lengths.unlink()
    with pytest.raises(FileNotFoundError, match=r"id2len\.json does not exist"):
        read_table([uniter])
    for text, message in {
        "": r"id2len\.json is not valid JSON",
        "[" * 100_000: r"id2len\.json is not valid JSON",
        "\0": r"id2len\.json is in UTF-16 or UTF-32",
        '{"\\ud800": 1}': r"id2len\.json has the id .* half of a character",
        '{"": 1}': "entry '' is missing",
    }.items():
        lengths.write_text(text)
        with pytest.raises(AnnotationError, match=message):
            read_table([uniter])
    uniter.write_bytes(uniter.read_bytes()[:8192])  # reading behind the end would end the process
    lengths.write_text(json.dumps(ids))
    with pytest.raises(AnnotationError, match=r"data\.mdb cannot be read .* bytes"):
        read_table([uniter])


@pytest.mark.parametrize(
    "value",
    [
        *(0, 127, 128, 70_000, 1.5, "", "blüe", "x" * 40, "x" * 200),
        *([], [1, [2, "a"]], list(range(20)), {}, {"a": {"b": []}}),
    ],
)
def test_message_pack(value: object) -> None:
    assert unpack(packed(value)) == value


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"\x93\xc0\xc2\xc3", [None, False, True]),
        (b"\xff", -1),
        (b"\xd0\x80", -128),
        (b"\xd1\xff\x00", -256),
        (b"\xcf" + b"\xff" * 8, 2**64 - 1),
        (b"\xca\x3f\x80\x00\x00", 1.0),
        (b"\xc4\x02ab", b"ab"),
        (b"\xdd\x00\x00\x00\x01\x05", [5]),
        (b"\xdf\x00\x00\x00\x01\x05\x06", {5: 6}),
    ],
)
def test_other_forms_of_message_pack(content: bytes, value: object) -> None:
    assert unpack(content) == value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "ends too early"),
        (b"\xdb\xff\xff\xff\xffab", "ends too early"),
        (b"\x01\x02", "1 bytes are left over"),
        (b"\xd4\x01\x00", "type 0xd4"),  # an extension, for which others run code
        (b"\x81\x90\x01", r"the key \[\]"),
        (b"\x91" * 200, "nested more than 100 deep"),
        (b"\xa1\xff", "utf-8"),
    ],
)
def test_what_is_no_message_pack(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        unpack(content)


def test_lz4_frames_are_checked(uniter: Path, tmp_path: Path) -> None:
    key = next(iter(json.loads(uniter.with_name("id2len.json").read_text())))
    with lmdb.open(str(uniter.parent)) as environment, environment.begin(write=True) as entry:
        entry.put(key.encode(), b"not a frame")
    with pytest.raises(AnnotationError, match=rf"entry '{key}' cannot be read.*LZ4"):
        read_table([uniter])
    with lmdb.open(str(uniter.parent)) as environment, environment.begin(write=True) as entry:
        row = {"image_id": 1, "sentence2": "x", "target": {"labels": [3]}}
        entry.put(key.encode(), pa.compress(packed(row), "lz4", asbytes=True))
    with pytest.raises(AnnotationError, match=r"has the target .*the class being 0 to 2"):
        read_table([uniter])


def test_nlvr2_has_two_images_a_sample(tmp_path: Path) -> None:
    table = read_table([NLVR2 / "train.json"])
    assert recognise(NLVR2 / "train.json").NAME == "official NLVR2 JSON lines"
    assert table.images_per_sample == 2 and table.image_rows.shape == (18, 2)
    assert table[0] == Question(
        "train-10-0-0",
        rows_of(NLVR2 / "train.json")[0]["sentence"],
        ("train/0/train-10-0-img0.png", "train/0/train-10-0-img1.png"),
        {rows_of(NLVR2 / "train.json")[0]["label"]: 1.0},
    )
    assert next(iter(table)) == table[0]
    assert all((NLVR2 / "images" / table.image_path(i)).is_file() for i in range(18))
    assert read_table([NLVR2 / "dev.json"])[0].image[1] == "dev/dev-10-0-img1.png"
    # What is consistent together: one sentence about several pairs.
    assert table.kinds()["sentence"][:4] == ["train-10--0", "train-10--1"] * 2
    shutil.copy(NLVR2 / "train.json", tmp_path)
    kept = open_or_convert([tmp_path / "train.json"], tmp_path / "stores" / "train")
    assert list(kept) == list(table) and (kept.image_rows == table.image_rows).all()


def test_classes_may_be_written_as_floats(tmp_path: Path) -> None:
    rows = lxmert_nlvr2("valid", rows_of(NLVR2 / "dev.json"))
    (tmp_path / "whole.json").write_text(json.dumps(rows))
    as_floats = [{**row, "label": float(row["label"])} for row in rows]
    (tmp_path / "floats.json").write_text(json.dumps(as_floats))
    assert list(read_table([tmp_path / "floats.json"])) == list(
        read_table([tmp_path / "whole.json"])
    )


def test_lxmerts_conversion_says_the_same(tmp_path: Path) -> None:
    rows = lxmert_nlvr2("valid", rows_of(NLVR2 / "dev.json"))
    (tmp_path / "valid.json").write_text(json.dumps(rows))
    assert recognise(tmp_path / "valid.json").NAME == "LXMERT NLVR2 JSON"
    own, theirs = read_table([NLVR2 / "dev.json"]), read_table([tmp_path / "valid.json"])
    assert theirs.kinds() == own.kinds()
    for ours, other in zip(own, theirs, strict=True):
        assert (ours.question_id, ours.text, ours.answers) == (
            *(other.question_id, other.text),
            other.answers,
        )
        assert other.image == tuple(Path(path).name for path in ours.image)


def test_tables_of_one_and_two_images_do_not_mix() -> None:
    tables = [read_table([NLVR2 / "dev.json"]), read_table([VE / "snli_ve_dev.jsonl"])]
    with pytest.raises(AnnotationError, match=r"have 2 images, of the other 1"):
        QuestionTable.concatenate(tables)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"identifier": "dev-1-2"}, r"identifier 'dev-1-2'; expected SPLIT-SET-PAIR-SENTENCE"),
        ({"label": "true"}, r"label 'true'; expected False or True"),
        ({"sentence": 3}, r"sentence 3 \(int\); expected a string"),
    ],
)
def test_bad_lines_of_nlvr2(tmp_path: Path, change: dict, message: str) -> None:
    row = {"identifier": "dev-1-2-0", "sentence": "Is it?", "label": "True", **change}
    with pytest.raises(AnnotationError, match=message):
        read_table([write_lines(tmp_path / "dev.json", [row])])


@pytest.mark.parametrize("label", ["maybe", "", None])
def test_bad_labels_of_snli_ve(tmp_path: Path, label: object) -> None:
    row = {"pairID": "a", "Flickr30kID": "1", "sentence2": "A dog.", "gold_label": label}
    with pytest.raises(AnnotationError, match=r"pair 0 has (the|no) '?gold_label"):
        read_table([write_lines(tmp_path / "file.jsonl", [row])])


def test_an_unlabelled_split_of_nlvr2(tmp_path: Path) -> None:
    row = {"identifier": "hidden-1-2-0", "sentence": "Is it?"}
    table = read_table([write_lines(tmp_path / "hidden.json", [row])])
    assert not table.is_labelled and table.kinds() == {"sentence": ["hidden-1--0"]}
