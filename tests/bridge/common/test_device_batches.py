"""Batches on their way to a device: the order of copies, and who waits for what."""

import pytest
import torch

from mmf_bridge.common.device_batches import CopyStream, on_device, tensors_of


class Noted:
    """In the place of a ``CopyStream``: notes what is asked of it."""

    def __init__(self, notes):
        self.notes = notes

    def begin(self, bring):
        batch = bring()
        return batch, f"copied {batch}"

    def finish(self, batch, event):
        assert event == f"copied {batch}"
        self.notes.append(f"wait {batch}")


def noted(ahead):
    notes = []

    def batches():
        for i in range(3):
            notes.append(f"make {i}")
            yield i
        notes.append("end")

    def move(batch):
        notes.append(f"copy {batch}")
        return batch

    for batch in on_device(batches(), move, torch.device("cuda"), ahead, Noted(notes)):
        notes.append(f"use {batch}")
    return notes


def test_the_next_batch_is_copied_before_the_current_one_is_used():
    assert " ".join(noted(ahead=True)) == (
        "make 0 copy 0 make 1 copy 1 wait 0 use 0 make 2 copy 2 wait 1 use 1 end wait 2 use 2"
    )


def test_no_batch_is_made_before_its_time_where_that_draws_random_numbers():
    assert " ".join(noted(ahead=False)) == (
        "make 0 copy 0 wait 0 use 0 make 1 copy 1 wait 1 use 1 make 2 copy 2 wait 2 use 2 end"
    )


def test_on_a_cpu_nothing_is_made_ahead():
    made = []
    batches = on_device((made.append(i) or i for i in range(3)), str, torch.device("cpu"), True)
    assert next(batches) == "0" and made == [0]
    assert list(batches) == ["1", "2"]


@pytest.mark.parametrize("ahead", [True, False])
def test_no_batches(ahead):
    assert list(on_device([], str, torch.device("cuda"), ahead, Noted([]))) == []


def test_an_error_and_an_early_end_reach_the_source():
    closed = []

    def batches():
        try:
            yield 0
            raise KeyError("no such image")
        finally:
            closed.append(True)

    source = batches()
    with pytest.raises(KeyError, match="no such image"):
        list(on_device(source, str, torch.device("cuda"), True, Noted([])))
    assert closed


def test_tensors_are_found_wherever_they_are():
    batch = {"a": torch.ones(1), "b": [torch.ones(2), "x"], "c": {"d": (torch.ones(3),)}, "e": 5}
    assert [len(tensor) for tensor in tensors_of(batch)] == [1, 2, 3]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("ahead", [True, False])
def test_batches_of_pinned_slots_arrive_on_a_gpu(ahead):
    from tests.bridge.common.test_shared_batches import Numbers, loader_of

    loader = loader_of(Numbers())
    loader._is_pinned = True
    device = torch.device("cuda", 0)
    work = torch.randn(2048, 2048, device=device)
    found = []
    batches = on_device(loader, lambda b: b.to(device, non_blocking=True), device, ahead)
    for batch in batches:
        for _ in range(20):  # so that copies overtake the computation
            work = work @ work / 2048
        found.append(batch.sum(1) // 1000)
    assert torch.cat(found).tolist() == list(range(80))
    assert loader._ring._pinned._registered


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_copies_go_beside_the_computation():
    device = torch.device("cuda", 0)
    host = torch.arange(1 << 20).pin_memory()
    copies = CopyStream(device)
    batch, event = copies.begin(lambda: {"x": host.to(device, non_blocking=True)})
    copies.finish(batch, event)
    assert torch.equal(batch["x"].cpu(), host)
