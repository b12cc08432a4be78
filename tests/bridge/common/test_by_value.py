"""What workers hand over: the same batches, and nothing left behind by a worker that is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from mmf_bridge.common.shared_batches import HandOver

_ENDLESS = """
import torch
from types import SimpleNamespace
from mmf_bridge.common.loading import build_dataloader

class Ones(torch.utils.data.Dataset):
    dataset_type, dataset_name = "train", "ones"

    def __len__(self):
        return 100_000

    def __getitem__(self, row):
        return torch.ones(1000)

training = SimpleNamespace(batch_size=4, num_workers=2, pin_memory=False, get=lambda *_: None)
loader, _ = build_dataloader(Ones(), training, 0, torch.stack)
for batch in loader:
    print(tuple(batch.shape), flush=True)
"""


def transposed(samples):
    numbers = torch.stack(samples)
    return {
        "transposed": numbers.t(),
        "half": numbers.half(),
        "brain": numbers.bfloat16(),
        "mask": numbers > 3,
        "empty": numbers[:0],
        "names": ["a", 1],
    }


@pytest.mark.parametrize("workers", [0, 1])
def test_a_batch_arrives_as_it_was_made(workers):
    samples = [torch.tensor([float(i), 2.0, 7.0]) for i in range(4)]
    loader = DataLoader(samples, batch_size=2, num_workers=workers, collate_fn=HandOver(transposed))
    batches = list(loader)
    assert len(batches) == 2
    for batch, chosen in zip(batches, (samples[:2], samples[2:]), strict=True):
        expected = transposed(chosen)
        assert batch.keys() == expected.keys() and batch["names"] == ["a", 1]
        for name in ("transposed", "half", "brain", "mask", "empty"):
            assert batch[name].dtype == expected[name].dtype
            assert torch.equal(batch[name], expected[name])
        batch["transposed"] += 1  # writable, as a batch that was made here


def failing(samples):
    raise KeyError("no such image")


def test_an_error_in_a_worker_is_raised():
    loader = DataLoader([1, 2], num_workers=1, collate_fn=HandOver(failing))
    with pytest.raises(KeyError, match="no such image"):
        next(iter(loader))


def test_a_killed_epoch_leaves_nothing_in_temporary_folders(tmp_path):
    shared = Path("/dev/shm")
    before = set(os.listdir(shared)) if shared.is_dir() else set()
    environment = {**os.environ, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-c", _ENDLESS],
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        for _ in range(5):
            assert process.stdout.readline().strip() == "(4, 1000)"
        workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(workers) == 2
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert os.listdir(tmp_path) == []
    if shared.is_dir():
        assert not {n for n in set(os.listdir(shared)) - before if n.startswith(("torch_", "sem."))}
