"""Stores: made once, complete or absent, mapped instead of copied."""

import errno
import json
import multiprocessing
import os
import pickle
import random
import shutil
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from clipvil_mmf.data import image_sizes
from clipvil_mmf.data import store as module
from clipvil_mmf.data.questions import AnnotationError
from clipvil_mmf.data.store import StoreError, is_fresh, open_or_convert, open_or_read, store_path
from clipvil_mmf.data.table import QuestionTable

VQA = Path(__file__).parents[1] / "fixtures" / "vqa2"


@pytest.fixture
def files(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for name in ("train.json", "minival.json"):
        shutil.copy(VQA / name, data)
    return [data / "train.json"]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "data" / "stores" / "train"


@pytest.fixture
def store(files, folder):
    """Where the store of the files lies."""
    return store_path(files, folder)


def conversions(monkeypatch):
    made, stock = [], module.read_table
    monkeypatch.setattr(module, "read_table", lambda *a: made.append(1) or stock(*a))
    return made


def test_a_store_is_made_once_and_again_when_a_file_changes(files, folder, monkeypatch):
    made = conversions(monkeypatch)
    first = open_or_convert(files, folder)
    again = open_or_convert(files, folder)
    assert made == [1]
    assert first[3] == again[3]
    files[0].write_text(files[0].read_text() + "\n")
    assert not is_fresh(folder, files)
    open_or_convert(files, folder)
    assert made == [1, 1]


def test_data_may_be_moved_with_its_stores(files, folder, tmp_path, monkeypatch):
    open_or_convert(files, folder)
    made = conversions(monkeypatch)
    moved = tmp_path / "moved"
    (tmp_path / "data").rename(moved)
    assert len(open_or_convert([moved / "train.json"], moved / "stores" / "train")) == 56
    assert made == []


def test_a_full_disk_leaves_nothing_half_written(files, folder, store, monkeypatch):
    stock = module._write_table

    def full(path, table):
        stock(path, table)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "_write_table", full)
    with pytest.raises(StoreError, match=r"No space left.*store_dir"):
        open_or_convert(files, folder)
    assert not store.exists()
    assert [name for name in os.listdir(folder.parent) if "partial" in name] == []
    monkeypatch.setattr(module, "_write_table", stock)
    assert len(open_or_convert(files, folder)) == 56


def test_what_a_killed_process_left_is_taken_away(files, folder):
    def convert():
        module._write_table = lambda path, table: os._exit(9)
        open_or_convert(files, folder)

    process = multiprocessing.get_context("fork").Process(target=convert)
    process.start()
    process.join()
    (partial,) = (path for path in folder.parent.iterdir() if "partial" in path.name)
    assert len(open_or_convert(files, folder)) == 56
    assert not partial.exists()


def _convert(files, folder, start, results):
    start.wait()
    results.put(len(open_or_convert(files, folder)))


def test_of_several_processes_one_converts(files, folder, store, monkeypatch):
    context = multiprocessing.get_context("fork")
    results, start, made = context.Queue(), context.Barrier(3), context.Value("i", 0)
    stock = module.read_table

    def read_table(*arguments):
        with made.get_lock():
            made.value += 1
        time.sleep(0.3)  # the others are there by now
        return stock(*arguments)

    monkeypatch.setattr(module, "read_table", read_table)
    arguments = (files, folder, start, results)
    processes = [context.Process(target=_convert, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == [56] * 3
    for process in processes:
        process.join()
    assert made.value == 1
    assert {name for name in os.listdir(folder.parent) if "lock" not in name} == {store.name}


def test_a_mapped_table_is_pickled_as_its_path(files, folder):
    table = open_or_convert(files, folder)
    bytes_ = pickle.dumps(table)
    assert len(bytes_) < 2000
    other = pickle.loads(bytes_)
    assert list(other) == list(table)


@pytest.fixture
def namesakes(tmp_path):
    """Question files of one name in two folders: of 2 questions, and of 3."""
    files = []
    for folder, first, count in (("train", 0, 2), ("val", 100, 3)):
        file = tmp_path / folder / "questions.json"
        file.parent.mkdir()
        rows = [{"question_id": first + i, "image": "a", "question": "?"} for i in range(count)]
        file.write_text(json.dumps(rows))
        files.append(file)
    return files


def test_files_of_one_name_have_stores_of_their_own(namesakes, tmp_path, monkeypatch):
    folder = tmp_path / "stores" / "questions"
    made = conversions(monkeypatch)
    train, val = (open_or_convert([file], folder) for file in namesakes)
    # What a spawned worker opens.
    assert pickle.loads(pickle.dumps(train)).ids([0, 1]) == [0, 1]
    assert pickle.loads(pickle.dumps(val)).ids([0]) == [100]
    monkeypatch.chdir(tmp_path)
    for file in namesakes:
        relative = file.relative_to(tmp_path)
        assert len(open_or_convert([relative], folder)) == len(open_or_convert([file], folder))
    assert made == [1, 1]  # not anew at each start


def _open_both(files, folder, start, results):
    start.wait()
    results.put([len(open_or_convert([file], folder)) for file in files * 20])


def test_processes_that_start_together_read_their_own_split(namesakes, tmp_path):
    context = multiprocessing.get_context("fork")
    results, start = context.Queue(), context.Barrier(2)
    arguments = (namesakes, tmp_path / "stores" / "questions", start, results)
    processes = [context.Process(target=_open_both, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == [[2, 3] * 20] * 2
    for process in processes:
        process.join()


def test_a_store_of_the_old_name_is_not_read(files, folder, store):
    open_or_convert(files, folder)
    store.rename(folder)
    (folder / "questions.arrow").write_bytes(b"of another file")
    assert len(open_or_convert(files, folder)) == 56
    assert store.is_dir()


def test_a_worker_does_not_read_what_was_made_anew_meanwhile(files, folder):
    pickled = pickle.dumps(open_or_convert(files, folder))
    files[0].write_text(files[0].read_text().replace("?", "!"))
    open_or_convert(files, folder)
    with pytest.raises(StoreError, match=r"was made anew during this run.*Start the run again"):
        pickle.loads(pickled)


def test_columns_are_views_of_the_files(files, folder):
    rows = open_or_convert(files, folder).parts[0].image_rows
    assert not rows.flags.owndata
    assert not rows.flags.writeable


def test_parts_stand_one_after_the_other(files, folder, tmp_path):
    train = open_or_convert(files, folder)
    val = open_or_convert([files[0].with_name("minival.json")], folder.with_name("minival"))
    both = QuestionTable.concatenate([train, val])
    assert len(both) == len(train) + len(val)
    assert both.image_count == train.image_count + val.image_count
    last = both[len(both) - 1]
    assert last == val[len(val) - 1]
    soft = both.answers_of(np.arange(len(train), len(both)))
    texts = both.answer_texts
    first = {
        texts[row]: score
        for position, row, score in zip(soft.positions, soft.rows, soft.scores, strict=True)
        if position == 0
    }
    assert first == pytest.approx(dict(val[0].answers))
    with pytest.raises(AnnotationError, match="occurs twice"):
        QuestionTable.concatenate([train, train])


def test_sizes_of_images_are_kept_and_unreadable_ones_are_zeros(files, folder, tmp_path):
    table = open_or_convert(files, folder)
    images = tmp_path / "images"
    shutil.copytree(VQA / "train2014", images / "train2014")
    lost = images / table.image_path(1)
    lost.unlink()
    sizes = table.image_sizes(images)
    assert sizes.shape == (table.image_count, 2)
    assert not sizes[1].any()
    assert (np.delete(sizes, 1, 0) > 0).all()


def written(folder):
    """Names and times of everything below a folder and of the locks beside it."""
    return {path: path.stat().st_mtime_ns for path in folder.parent.rglob("*") if not path.is_dir()}


def read_only(monkeypatch):
    """As if the file system was mounted read-only: also the superuser cannot write."""
    stock = Path.open

    def refuse(path, *arguments, **options):
        if set("".join(arguments[:1]) + options.get("mode", "")) & set("wax+"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return stock(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)


def test_unreadable_images_are_tried_again_and_written_once(files, folder, tmp_path, monkeypatch):
    table = open_or_convert(files, folder)
    images = tmp_path / "images"
    shutil.copytree(VQA / "train2014", images / "train2014")
    lost = images / table.image_path(1)
    whole = lost.read_bytes()
    lost.unlink()
    first = table.image_sizes(images)
    read, stock = [], image_sizes.image_size
    monkeypatch.setattr(image_sizes, "image_size", lambda *a: read.append(a[0]) or stock(*a))
    before = written(folder)
    for _ in range(2):
        assert (table.image_sizes(images) == first).all()
    assert written(folder) == before
    with monkeypatch.context() as patch:
        read_only(patch)
        assert (table.image_sizes(images) == first).all()
    lost.write_bytes(whole)
    assert (table.image_sizes(images) > 0).all()
    assert written(folder) != before
    lost.unlink()
    assert (table.image_sizes(images) > 0).all()  # kept
    assert set(read) == {str(lost)}


def test_sizes_that_cannot_be_kept(files, folder, monkeypatch, caplog):
    table = open_or_convert(files, folder)
    before = written(folder)
    with monkeypatch.context() as patch:
        read_only(patch)
        sizes = table.image_sizes(VQA)
    assert (sizes > 0).all()
    assert written(folder) == before
    assert "are read at each start: Cannot write" in caplog.text
    assert "store_dir" in caplog.text
    caplog.clear()
    assert (table.image_sizes(VQA) == sizes).all()
    assert written(folder) != before and caplog.text == ""


def test_a_bad_question_file_leaves_nothing(tmp_path):
    file, folder = tmp_path / "q.json", tmp_path / "stores" / "train"
    row = '{"question_id": 1, "img_id": "a", "sent": "?"}'
    file.write_text(f"[{row}, ")
    with pytest.raises(AnnotationError, match=r"q\.json"):
        open_or_convert([file], folder)
    assert [name for name in os.listdir(folder.parent) if "lock" not in name] == []
    file.write_text(f"[{row}]")
    assert len(open_or_convert([file], folder)) == 1


@pytest.mark.parametrize("content", ["", "{", "{}", "3", '{"version": 3, "files": [1]}'])
def test_a_store_whose_description_is_damaged_is_made_again(files, folder, store, content):
    open_or_convert(files, folder)
    (store / "store.json").write_text(content)
    assert len(open_or_convert(files, folder)) == 56


def damage(path, lots):
    """Change, cut off, lengthen or remove a file."""
    content = bytearray(path.read_bytes())
    match lots.choice(("flip", "flip", "flip", "cut", "append", "remove")):
        case "flip":
            content[lots.randrange(len(content))] ^= 1 << lots.randrange(8)
        case "cut":
            del content[lots.randrange(len(content)) :]
        case "append":
            content += lots.randbytes(8)
        case "remove":
            path.unlink()
            return
    path.write_bytes(content)


def test_a_damaged_store_is_never_misread(files, folder, store, caplog):
    expected = list(open_or_convert(files, folder))
    sizes = open_or_convert(files, folder).image_sizes(VQA)
    lots = random.Random(0)
    for _ in range(60):
        chosen = lots.choice([path for path in store.rglob("*") if path.is_file()])
        damage(chosen, lots)
        table = open_or_convert(files, folder)
        assert list(table) == expected
        assert (table.image_sizes(VQA) == sizes).all()
    assert f"The store {store} is damaged" in caplog.text
    assert "the sizes of its images are read anew" in caplog.text


def test_a_table_with_its_right_checksum_is_checked_too(files, folder, store, caplog):
    """As if a program of another version had written it."""
    expected = list(open_or_convert(files, folder))
    (table,) = store.glob("*.arrow")
    with pa.OSFile(str(table), "wb") as file, pa.ipc.new_file(file, pa.schema([])):
        pass
    other = table.rename(table.with_stem(module._checksum(table)))
    description = json.loads((store / "store.json").read_text())
    (store / "store.json").write_text(json.dumps({**description, "table": other.name}))
    assert list(open_or_convert(files, folder)) == expected
    assert "is damaged" in caplog.text


def test_a_damaged_store_that_cannot_be_written_says_what_to_do(files, folder, store, monkeypatch):
    open_or_convert(files, folder)
    (table,) = store.glob("*.arrow")
    table.unlink()
    read_only(monkeypatch)
    with pytest.raises(StoreError, match=r"Cannot write .*store_dir"):
        open_or_convert(files, folder)


def test_a_file_that_was_only_touched_is_not_converted(files, folder, store, monkeypatch):
    open_or_convert(files, folder)
    made = conversions(monkeypatch)
    hashed, stock = [], module.sha256_of
    monkeypatch.setattr(module, "sha256_of", lambda file: hashed.append(1) or stock(file))
    os.utime(files[0])
    open_or_convert(files, folder)
    assert made == [] and hashed
    hashed.clear()
    open_or_convert(files, folder)  # what was found is kept
    assert made == hashed == []
    os.utime(files[0])
    read_only(monkeypatch)
    assert len(open_or_convert(files, folder)) == 56


def test_other_content_of_the_same_size_and_time_is_converted(files, folder):
    open_or_convert(files, folder)
    text, state = files[0].read_text(), files[0].stat()
    files[0].write_text(text.replace("?", "!"))
    os.utime(files[0], ns=(state.st_atime_ns, state.st_mtime_ns))
    assert open_or_convert(files, folder)[0].text.endswith("!")


def test_a_store_is_on_disk_before_it_has_its_name(files, folder, store, monkeypatch):
    """Otherwise a power cut may leave the name, and nothing or zeros behind it."""
    synced, renamed = [], []
    stock_sync, stock_replace = os.fsync, os.replace

    def fsync(descriptor):
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        stock_sync(descriptor)

    def replace(source, target):
        renamed.append((Path(target), list(synced)))
        stock_replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    open_or_convert(files, folder)
    (before,) = (names for target, names in renamed if target == store)
    (table,) = store.glob("*.arrow")
    assert {table.name, "store.json"} <= set(before)
    assert any(name.endswith(store.name) for name in before)  # the folder, under its first name
    assert synced[-1] == store.parent.name


@pytest.mark.parametrize("keep", [True, False])
def test_readers_need_no_store(files, folder, monkeypatch, caplog, keep):
    """On a read-only disk, or beside a file of one's own: nothing is written."""
    with monkeypatch.context() as patch:
        if keep:
            read_only(patch)
        read = open_or_read(files, folder, keep)
    assert (len(read) == 56 and not folder.parent.exists()) or keep
    assert keep == ("are read into memory. Cannot write" in caplog.text)
    expected = open_or_convert(files, folder)
    assert list(read) == list(expected)
    made = conversions(monkeypatch)
    asked, stock = [], module.is_fresh
    monkeypatch.setattr(module, "is_fresh", lambda *a: asked.append(a) or stock(*a))
    assert list(open_or_read(files, folder, keep)) == list(expected)
    assert made == [] and len(asked) == 1


def test_reading_sizes_goes_on_where_it_stopped(files, folder, monkeypatch):
    table = open_or_convert(files, folder)
    stock, seen = image_sizes.image_size, []
    paths = [str(VQA / table.image_path(row)) for row in range(table.image_count)]

    def stop(path, upright):
        if path == paths[3]:
            raise KeyboardInterrupt
        return stock(path, upright)

    def size(path, upright):
        seen.append(path)
        return stock(path, upright)

    monkeypatch.setattr(image_sizes, "_SHARD", 3)
    monkeypatch.setattr(image_sizes, "image_size", stop)
    with pytest.raises(KeyboardInterrupt):
        table.image_sizes(VQA)
    monkeypatch.setattr(image_sizes, "image_size", size)
    for _ in range(2):
        assert (table.image_sizes(VQA) > 0).all()
        assert sorted(seen) == sorted(paths[3:])
