"""TorchScript archives: their tensors are read as torch.jit.load gives them, and nothing is run."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from clipvil_mmf.weight_files import WeightFileError, read_weights
from mmf_bridge.common.checkpoint_files import safe_load

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.positions = nn.Parameter(torch.randn(4, 2).half())
        self.register_buffer("ids", torch.arange(5).expand((2, -1)))
        self.register_buffer("passing", torch.ones(2), persistent=False)
        self.register_buffer("absent", None)
        self.plain = torch.ones(3)  # neither a parameter nor a buffer
        self.sizes = [1, 2]
        self.names = {"a": torch.ones(1)}
        self.scale = 0.5

    def forward(self, x: Tensor) -> Tensor:
        total = self.positions.float().sum() + self.plain.sum() + self.names["a"]
        return self.norm(self.conv(x)) * self.scale + total + self.sizes[0]


class Tower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.visual = Block()
        self.layers = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 2)])
        self.again = self.layers[0]
        self.turned = nn.Parameter(self.layers[0].weight.detach().T)
        self.logit_scale = nn.Parameter(torch.tensor(4.6, dtype=torch.bfloat16))
        self.flags = nn.Parameter(torch.tensor([True, False]), requires_grad=False)
        self.empty = nn.Parameter(torch.empty(0, 3))

    def forward(self, x: Tensor) -> Tensor:
        y = self.visual(x).mean((2, 3))
        for layer in self.layers:
            y = layer(y)
        return y * self.logit_scale + self.turned.sum() + self.again.bias.sum()


@pytest.fixture(params=["script", "trace"])
def archive(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    module = Tower().eval()
    if request.param == "script":
        saved = torch.jit.script(module)
    else:
        saved = torch.jit.trace(module, torch.randn(1, 3, 5, 5))
    saved.save(str(tmp_path / "RN50x4.pt"))
    return tmp_path / "RN50x4.pt"


def test_the_tensors_are_those_that_torch_loads(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = dict(torch.jit.load(str(archive)).state_dict())
    monkeypatch.delattr(torch.jit, "load")
    read = read_weights(archive)
    assert list(read) == list(expected)
    assert "visual.passing" in read and "visual.plain" not in read
    for name, value in expected.items():
        assert read[name].dtype == value.dtype, name
        assert torch.equal(read[name], value), name
    assert read["visual.positions"].dtype == torch.float16
    shared = [read[name].data_ptr() for name in ("layers.0.weight", "again.weight")]
    assert shared[0] == shared[1]


class Restored(nn.Module):
    """Its state is restored by code that writes the file of the environment's name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.weight = nn.Parameter(torch.ones(2))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight

    @torch.jit.export
    def __getstate__(self) -> dict[str, Tensor]:
        return {"weight": self.weight}

    @torch.jit.export
    def __setstate__(self, state: dict[str, Tensor]) -> None:
        self.name = "written"
        self.training = False
        self.weight = torch.from_file("written", True, 2) + state["weight"]


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    outer = nn.Sequential(nn.Linear(2, 2), Restored("written"))
    torch.jit.script(outer).save(str(tmp_path / "hostile.pt"))
    torch.jit.load(str(tmp_path / "hostile.pt"))
    (tmp_path / "written").unlink()  # torch.jit.load does write it
    return tmp_path / "hostile.pt"


def test_code_of_an_archive_is_not_run(hostile: Path) -> None:
    with pytest.raises(WeightFileError, match=r"hostile\.pt .*code of its own.*torch\.jit\.load"):
        read_weights(hostile)
    with pytest.raises(ValueError, match=r"hostile\.pt is a TorchScript archive.*run its code"):
        safe_load(hostile)
    assert not (hostile.parent / "written").exists()


def rewritten(path: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """A copy of an archive with other contents, and checksums that fit."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(path.parent / "changed.pt", "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return path.parent / "changed.pt"


@pytest.mark.parametrize(
    ("record", "old", "new", "message"),
    [
        ("data/0", rb".+", b"12", "bytes instead of"),
        ("data.pkl", rb"\(K.K.t\(K\x02K\x01t", b"(K\x7fK\x7ft(K\x02K\x01t", "larger than|storage"),
        ("data.pkl", rb"ctorch\nHalfStorage", b"cos\nsystem", "holds a os.system"),
        ("data.pkl", rb"rebuild_tensor_v2", b"rebuild_qtensor", "_rebuild_qtensor"),
        ("test_torchscript.py", rb"^class Tower", b"class Power", "lacks the class"),
        ("byteorder", rb"little", b"big", "byte order"),
    ],
)
def test_what_cannot_be_right_is_refused(
    tmp_path: Path, record: str, old: bytes, new: bytes, message: str
) -> None:
    torch.jit.script(Tower()).save(str(tmp_path / "whole.pt"))

    def change(name: str, content: bytes) -> bytes:
        if not name.endswith(f"/{record}"):
            return content
        changed = re.sub(old, lambda _: new, content, flags=re.M | re.S)
        assert changed != content
        return changed

    path = rewritten(tmp_path / "whole.pt", change)
    with pytest.raises(WeightFileError, match=rf"changed\.pt .*({message})"):
        read_weights(path)


def test_archives_that_do_not_name_their_buffers(tmp_path: Path) -> None:
    """Before torch told buffers from other tensors, it loaded all of them."""
    torch.jit.script(Tower()).save(str(tmp_path / "whole.pt"))
    path = rewritten(
        tmp_path / "whole.pt",
        lambda name, content: (
            re.sub(rb"  __buffers__ = .*\n", b"", content) if name.endswith(".py") else content
        ),
    )
    assert {"visual.norm.running_mean", "visual.plain", "layers.0.bias"} <= set(read_weights(path))


def test_a_damaged_record_is_noticed(archive: Path) -> None:
    content = bytearray(archive.read_bytes())
    with zipfile.ZipFile(archive) as file:
        record = file.getinfo(f"{archive.stem}/data/0")
    content[record.header_offset + 64 : record.header_offset + 300] = bytes(236)
    archive.write_bytes(content)
    with pytest.raises(WeightFileError, match=rf"{os.path.basename(archive)} .*Fetch it again"):
        read_weights(archive)
