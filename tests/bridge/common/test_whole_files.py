"""Files and folders that appear whole or not at all; what killed processes leave is removed."""

import os

import pytest

from mmf_bridge.common import whole_files
from mmf_bridge.common.whole_files import remove_abandoned, replacing, replacing_folder, whole_file


def die_in(context, path):
    """Let a process of its own die while it writes; the name of what it leaves."""
    child = os.fork()
    if child == 0:
        with context(path) as partial:
            (partial / "part" if partial.is_dir() else partial).write_bytes(b"half")
            os._exit(9)
    os.waitpid(child, 0)
    (left,) = (file for file in path.parent.iterdir() if "partial" in file.name)
    return left


@pytest.mark.parametrize("context", [replacing, replacing_folder])
def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path, context):
    left = die_in(context, tmp_path / "one.json")
    assert left.name.endswith("-one.json")
    with replacing(tmp_path / "two.json") as partial:
        assert not left.exists() and partial.suffix == ".json"
        partial.touch()
    assert [file.name for file in tmp_path.iterdir()] == ["two.json"]


def test_what_a_living_process_writes_stays(tmp_path):
    with replacing(tmp_path / "one") as partial:
        partial.touch()
        remove_abandoned(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["one"]


def test_another_process_of_the_same_id_is_not_its_owner(tmp_path, monkeypatch):
    """After a restart of the host, or of a container, ids begin again."""
    monkeypatch.setattr(whole_files, "start_of", lambda pid: 1)
    left = die_in(replacing, tmp_path / "one")
    mine = left.with_name(left.name.replace(left.name.split("-")[-3], str(os.getpid())))
    left.rename(mine)
    remove_abandoned(tmp_path)
    assert mine.exists()
    monkeypatch.undo()
    remove_abandoned(tmp_path)
    assert not mine.exists()


def test_of_another_host_nobody_knows_whether_it_lives(tmp_path, monkeypatch):
    with monkeypatch.context() as there:
        there.setattr(whole_files, "place", lambda: "elsewhere-1")
        left = die_in(replacing, tmp_path / "model_5.ckpt")
    remove_abandoned(tmp_path, also=(".json",))
    assert left.exists()
    remove_abandoned(tmp_path, also=(".ckpt",))
    assert not left.exists()


def test_an_error_leaves_the_old_folder(tmp_path):
    folder = tmp_path / "folder"
    for _ in range(2):
        with replacing_folder(folder) as partial:
            (partial / "whole").touch()
    with pytest.raises(RuntimeError), replacing_folder(folder) as partial:
        (partial / "half").touch()
        raise RuntimeError
    assert [file.name for file in tmp_path.rglob("*")] == ["folder", "whole"]


def test_a_file_has_no_name_until_it_is_whole(tmp_path):
    for content in (b"old", b"new"):
        with whole_file(tmp_path / "one") as file:
            file.write(content)
            assert [f.name for f in tmp_path.iterdir()] == (["one"] if content == b"new" else [])
        assert (tmp_path / "one").read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["one"]


def test_what_a_writer_has_beside_its_file_goes_as_well(tmp_path):
    """As safetensors does."""
    with replacing(tmp_path / "one") as partial:
        partial.with_name(".tmpAbC").touch()
        partial.touch()
    assert [file.name for file in tmp_path.iterdir()] == ["one"]
