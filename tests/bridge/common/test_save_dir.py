"""When training may begin in a folder, and who holds it."""

import errno
import fcntl
import multiprocessing
import os
import re
import socket
import time

import pytest
from omegaconf import OmegaConf

from mmf_bridge.common import locking, save_dir


def configuration(folder, checkpoint=None, **changes):
    reset = {"all": False, "counts": False}
    defaults = {
        "env": {"save_dir": str(folder), "overwrite": False},
        "run_type": "train_inference",
        "distributed": {"rank": 0},
        "checkpoint": {"resume": False, "reset": reset, **(checkpoint or {})},
    }
    return OmegaConf.merge(defaults, changes)


MODELS = "models/model_5.ckpt"
HERE = "current.ckpt"


@pytest.mark.parametrize(
    ("there", "checkpoint", "allowed"),
    [
        ((), {}, True),
        (("config.yaml", "logs", "a.pth", "clipbest.ckpt"), {}, True),
        ((HERE,), {}, False),
        (("best.ckpt",), {}, False),
        ((MODELS,), {}, False),
        (("tiny_final.pth",), {}, False),
        (("pythia_best.ckpt",), {}, False),
        ((HERE,), {"resume": True}, True),
        (("pythia_best.ckpt",), {"resume": True, "resume_best": True}, True),
        ((MODELS,), {"resume": True}, True),
        (("tiny_final.pth",), {"resume": True}, False),
        (("best.ckpt",), {"resume": True, "resume_file": "other.ckpt"}, False),
        ((HERE,), {"resume": True, "resume_file": "other.ckpt"}, True),
        ((HERE,), {"resume_file": "other.ckpt"}, False),
        ((HERE,), {"resume_file": HERE}, True),
        ((MODELS,), {"resume_file": MODELS}, True),
        ((HERE,), {"resume_file": HERE, "reset": {"all": True, "counts": False}}, False),
        (("tiny_final.pth",), {"resume_file": "tiny_final.pth"}, False),
        ((HERE,), {"resume_zoo": "tiny.one"}, False),
    ],
)
def test_what_training_may_begin_on(tmp_path, there, checkpoint, allowed):
    folder = tmp_path / "run"
    for name in there:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (tmp_path / "other.ckpt").touch()
    file = checkpoint.get("resume_file")
    if file:
        where = folder if file in there else tmp_path
        checkpoint = {**checkpoint, "resume_file": str(where / file)}
    config = configuration(folder, checkpoint)
    if allowed:
        save_dir.check(config)
    else:
        with pytest.raises(FileExistsError, match=re.escape(there[0])):
            save_dir.check(config)
        config.env.overwrite = True
        save_dir.check(config)


def test_only_training_holds_the_folder(tmp_path):
    folder = tmp_path / "run"
    for predict, run_type in ((True, "train"), (False, "val"), (False, "test")):
        with save_dir.reserved(configuration(folder, run_type=run_type), predict):
            assert not folder.exists()
    who = rf"process {os.getpid()} on {socket.gethostname()}\)\. Wait for its end"
    with (
        save_dir.reserved(configuration(folder), False),
        save_dir.reserved(configuration(folder, distributed={"rank": 1}), False),
        pytest.raises(RuntimeError, match=rf"{folder} is taken: a run trains there \({who}"),
        save_dir.reserved(configuration(folder), False),
    ):
        pass
    with save_dir.reserved(configuration(folder), False):
        assert [file.name for file in folder.rglob("*")] == [save_dir.MODELS]


@pytest.fixture
def on_a_network(monkeypatch):
    """Folders cannot be locked."""
    monkeypatch.setattr(locking, "_can_lock", lambda _: False)


def test_a_file_is_locked_on_a_network(tmp_path, on_a_network):
    lock = tmp_path / save_dir.LOCK
    with save_dir.reserved(configuration(tmp_path), False):
        assert f"pid: {os.getpid()}\n" in lock.read_text()
    assert not lock.exists()
    process = multiprocessing.get_context("fork").Process(target=hold, args=(tmp_path,))
    process.start()
    while not lock.exists() or not lock.read_text():
        time.sleep(0.01)
    who = rf"process {process.pid} on {socket.gethostname()}, since 2"
    with (
        pytest.raises(RuntimeError, match=rf"is taken: a run trains there \({who}"),
        save_dir.reserved(configuration(tmp_path), False),
    ):
        pass
    process.kill()
    process.join()
    assert lock.exists()
    with save_dir.reserved(configuration(tmp_path), False):
        assert f"pid: {os.getpid()}\n" in lock.read_text()
    assert not lock.exists()


def hold(folder):
    with save_dir.reserved(configuration(folder), False):
        time.sleep(60)


def test_of_another_host_nobody_can_tell(tmp_path, monkeypatch, on_a_network):
    lock = tmp_path / save_dir.LOCK
    with monkeypatch.context() as there:
        there.setattr(save_dir.socket, "gethostname", lambda: "elsewhere")
        there.setattr(save_dir, "_boot", lambda: "another")
        text = save_dir._holder()
    lock.write_text(text)
    with (
        pytest.raises(RuntimeError, match=rf"elsewhere.*if it has ended, remove {lock}"),
        save_dir.reserved(configuration(tmp_path), False),
    ):
        pass
    assert lock.read_text() == text
    # One that had another name on this host, such as a container, is gone: its lock is free.
    lock.write_text(text.replace("boot: another", f"boot: {save_dir._boot()}"))
    with save_dir.reserved(configuration(tmp_path), False):
        pass
    assert not lock.exists()


def test_without_locks_its_process_tells(tmp_path, monkeypatch, on_a_network):
    """As on some network file systems."""

    def lockf(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", lockf)
    config = configuration(tmp_path)
    with (
        save_dir.reserved(config, False),
        pytest.raises(RuntimeError, match=r"is taken.*Wait for its end"),
        save_dir.reserved(config, False),
    ):
        pass
    child = os.fork()
    if child == 0:
        with save_dir.reserved(config, False):
            os._exit(0)
    os.waitpid(child, 0)
    assert (tmp_path / save_dir.LOCK).exists()
    with save_dir.reserved(config, False):
        pass
