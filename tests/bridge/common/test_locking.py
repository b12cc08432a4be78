"""Locks of folders: one at a time, of which nothing is left however the holder ends."""

import fcntl
import multiprocessing
import os
import time

import pytest

from mmf_bridge.common import locking
from mmf_bridge.common.parent import leave_parents_descriptors

FILE = ".lock"
_fork = multiprocessing.get_context("fork")


@pytest.fixture(params=[True, False])
def can_lock(request, monkeypatch):
    """Folders can be locked, or files alone."""
    if not request.param:
        monkeypatch.setattr(locking, "_can_lock", lambda _: False)
    return request.param


def hold(folder, held):
    with locking.locked(folder, FILE):
        held.set()
        time.sleep(60)


def test_a_second_one_waits_until_the_first_is_killed(tmp_path, can_lock):
    folder, held, second = tmp_path / "folder", _fork.Event(), _fork.Event()
    first = _fork.Process(target=hold, args=(folder, held))
    first.start()
    assert held.wait(60)
    other = _fork.Process(target=hold, args=(folder, second))
    other.start()
    assert not second.wait(0.3)
    first.kill()
    assert second.wait(60)
    other.kill()
    for process in (first, other):
        process.join()
    assert [file.name for file in tmp_path.rglob("*")] == ["folder", *([] if can_lock else [FILE])]


def test_who_does_not_wait_learns_who_holds_it(tmp_path):
    with locking.holding(tmp_path, waits=False):
        assert locking.holder_of(tmp_path) == os.getpid()
        with pytest.raises(BlockingIOError), locking.holding(tmp_path, waits=False):
            pass
    assert locking.holder_of(tmp_path) is None
    with locking.holding(tmp_path, waits=False):
        pass


def test_a_forked_process_does_not_keep_it(tmp_path):
    with locking.holding(tmp_path, waits=False):
        child = _fork.Process(target=time.sleep, args=(60,))
        child.start()
    with locking.holding(tmp_path, waits=False):
        child.kill()
        child.join()


def test_a_worker_that_outlives_its_trainer_does_not_keep_it(tmp_path):
    descriptor, ready = os.open(tmp_path, os.O_RDONLY), _fork.Event()
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    worker = _fork.Process(target=leave_and_stay, args=(ready,))
    worker.start()
    assert ready.wait(60)
    os.close(descriptor)  # as the trainer is killed
    with locking.holding(tmp_path, waits=False):
        worker.kill()
        worker.join()


def leave_and_stay(ready):
    leave_parents_descriptors()
    ready.set()
    time.sleep(60)


def test_file_systems_of_others_are_not_locked_by_folder(tmp_path):
    known = os.open(tmp_path, os.O_RDONLY)
    unknown = os.open("/proc/self", os.O_RDONLY)
    assert locking._can_lock(known) and not locking._can_lock(unknown)
    os.close(known)
    os.close(unknown)
