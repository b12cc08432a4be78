"""Files of weights: one clear error for each that is none, and nothing half-written."""

from __future__ import annotations

import gzip
import resource
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from clipvil_mmf.weight_files import (
    WeightFileError,
    new_folder,
    read_weights,
    write_safetensors,
    write_torch,
)
from mmf_bridge.common.checkpoint_files import safe_load

STATE = {"a": torch.arange(1000.0), "b": torch.tensor(3)}


class Code:
    def __reduce__(self):
        return (print, ("ran code",))


def test_every_format_gives_the_same(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "a.safetensors")
    torch.save(STATE, tmp_path / "a.pth")
    torch.save(OrderedDict(STATE), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 3, "state_dict": STATE}, tmp_path / "open_clip.pt")
    for name in ("a.safetensors", "a.pth", "old.pth", "open_clip.pt"):
        read = read_weights(tmp_path / name)
        assert read.keys() == STATE.keys()
        assert all(torch.equal(read[key], value) for key, value in STATE.items()), name


def test_the_content_counts_not_the_ending(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "a.bin")
    torch.save(STATE, tmp_path / "a.safetensors")
    torch.save(STATE, tmp_path / "old.safetensors", _use_new_zipfile_serialization=False)
    for name in ("a.bin", "a.safetensors", "old.safetensors"):
        for read in (read_weights, safe_load):
            same = read(tmp_path / name)
            assert all(torch.equal(same[key], value) for key, value in STATE.items()), name


def test_without_checksums_and_compressed(tmp_path: Path) -> None:
    """Both are read; torch would take the compressed bytes for the mapped numbers."""
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(STATE, tmp_path / "unchecked.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    torch.save(STATE, tmp_path / "a.pth")
    packed = zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(tmp_path / "a.pth") as whole, packed:
        for name in whole.namelist():
            packed.writestr(name, whole.read(name))
    for name in ("unchecked.pth", "packed.pth"):
        for read in (read_weights, safe_load):
            assert torch.equal(read(tmp_path / name)["a"], STATE["a"]), name
    content = (tmp_path / "packed.pth").read_bytes()
    (tmp_path / "packed.pth").write_bytes(flipped(content, 1000))
    with pytest.raises(WeightFileError, match=r"checksum of its .*data/0 does not fit"):
        read_weights(tmp_path / "packed.pth")


def zeroed(content: bytes, start: int, end: int) -> bytes:
    changed = bytearray(content)
    changed[start:end] = bytes(end - start)
    return bytes(changed)


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    torch.save(STATE, tmp_path / "whole")
    torch.save(STATE, tmp_path / "old", _use_new_zipfile_serialization=False)
    save_file(STATE, tmp_path / "whole.safetensors")
    contents = {
        "cut": (tmp_path / "whole").read_bytes()[:2000],
        "old_cut": (tmp_path / "old").read_bytes()[:2000],
        "older_cut": (tmp_path / "old").read_bytes()[:40],
        "cut.safetensors": (tmp_path / "whole.safetensors").read_bytes()[:200],
        "zeros": bytes(100),
        "page": b"<!DOCTYPE html><html>",
        "pointer": b"version https://git-lfs.github.com/spec/v1\n",
        "packed": gzip.compress((tmp_path / "whole").read_bytes()),
        "empty": b"",
        "hole": zeroed((tmp_path / "whole").read_bytes(), 1500, 2000),
        "hole_in_directory": zeroed((tmp_path / "whole").read_bytes(), -300, -250),
        "flipped": flipped((tmp_path / "whole").read_bytes(), 3000),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    torch.save({"model": STATE}, tmp_path / "nested")
    torch.save([1, 2], tmp_path / "list")
    torch.save(STATE, tmp_path / "newer", pickle_protocol=4)
    torch.save(
        STATE, tmp_path / "old_newer", pickle_protocol=4, _use_new_zipfile_serialization=False
    )
    torch.save({1: STATE["a"]}, tmp_path / "numbered")
    torch.save({"a": STATE["a"].to_sparse()}, tmp_path / "sparse")
    torch.save({"weight": Code()}, tmp_path / "code")
    torch.save({"weight": Code()}, tmp_path / "old_code", _use_new_zipfile_serialization=False)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone", "no such file"),
        ("empty", "is empty"),
        ("cut", "cut short. Fetch it again"),
        ("old_cut", "cut short. Fetch it again"),
        ("older_cut", "cut short. Fetch it again"),
        ("cut.safetensors", "cut short. Fetch it again"),
        ("zeros", "cut short. Fetch it again"),
        ("page", "not a checkpoint but a web page"),
        ("pointer", "git lfs pull"),
        ("packed", "compressed: unpack it with `gunzip`"),
        ("nested", "holds no state dict .*'model' that is not a tensor"),
        ("hole", "checksum of its .*data/0 does not fit.*Fetch it again"),
        ("flipped", "checksum of its .*data/0 does not fit.*Fetch it again"),
        ("hole_in_directory", "could not be read .*Fetch it again"),
        ("newer", "saved with pickle_protocol=4, .*Save it again"),
        ("old_newer", "saved with pickle_protocol=4, .*Save it again"),
        ("numbered", "holds no state dict .*1 that is not a tensor"),
        ("sparse", "holds no state dict .*'a' that is not a plain tensor"),
        ("list", "holds no state dict .*a list"),
        ("code", r"it carries code \(.*print\).*if you trust this file"),
        ("old_code", r"it carries code \(.*print\).*if you trust this file"),
    ],
)
def test_what_is_not_a_file_of_weights(bad: Path, capfd, name: str, message: str) -> None:
    with pytest.raises(WeightFileError, match=rf"{name}\b.*{message}") as caught:
        read_weights(bad / name)
    if name not in ("gone", "nested", "list", "numbered", "sparse"):  # whole files of torch
        with pytest.raises(ValueError, match=rf"{name}\b"):
            safe_load(bad / name)
    assert "\n" not in str(caught.value)
    assert "ran code" not in capfd.readouterr().out


@pytest.mark.parametrize("write", [write_safetensors, write_torch])
def test_a_full_disk_leaves_the_earlier_file(tmp_path: Path, write) -> None:
    """A limit on the size of files stands for the full disk: the write itself fails."""
    file = tmp_path / "a.safetensors"
    write({"a": torch.zeros(1)}, file)
    before = file.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(WeightFileError, match=r"a\.safetensors could not be written.*Free"):
            write(STATE, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("write", [write_safetensors, write_torch])
def test_others_may_read_what_the_umask_allows(tmp_path: Path, write) -> None:
    write(STATE, tmp_path / "a")
    (tmp_path / "plain").touch()
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_folder_appears_when_it_is_filled(tmp_path: Path) -> None:
    with new_folder(tmp_path / "model") as folder:
        (folder / "file").write_text("content")
        assert not (tmp_path / "model").exists()
    assert (tmp_path / "model" / "file").read_text() == "content"
    with pytest.raises(WeightFileError, match="exists: remove it"), new_folder(tmp_path / "model"):
        pass
    with pytest.raises(WeightFileError, match=r"other could not be written: .*No space"):  # noqa: SIM117
        with new_folder(tmp_path / "other"):
            raise OSError(28, "No space left on device")
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_views_and_shared_tensors_are_written(tmp_path: Path) -> None:
    matrix = torch.arange(6.0).view(2, 3)
    tensors = {"all": matrix, "turned": matrix.T, "part": matrix[:1], "again": matrix}
    write_safetensors(tensors, tmp_path / "a.safetensors")
    read = read_weights(tmp_path / "a.safetensors")
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
