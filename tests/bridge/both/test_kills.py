"""Runs that are killed leave no process behind, and no file that stays; nor do their ranks."""

import os
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from mmf_bridge.common import launch, parent
from tests.bridge import kills
from tests.bridge.both.test_interruption import ENDLESS
from tests.bridge.runs import run_processes


@pytest.mark.parametrize("name", ["train, persistent", "predict"])
def test_a_killed_run_leaves_no_worker(tmp_path, name):
    """Whose workers wait in a full pipe."""
    left = kills.kill_run(name, signal.SIGKILL, False, 0.5, tmp_path)
    assert left.running > 1 and left.processes == 0, left
    assert not left.files and left.next_code == 0 and not left.after_next, left


def test_a_launcher_that_is_killed_takes_its_ranks_with_it(tmp_path):
    left = kills.kill_run("train, 2 ranks", signal.SIGKILL, False, 0.5, tmp_path)
    # At the least the launcher and its ranks: workers may be between two epochs.
    assert left.running >= 3 and left.processes == 0, left
    assert not left.files and not left.after_next, left


def test_a_conversion_that_is_ended_by_a_signal_leaves_nothing(tmp_path):
    source = tmp_path / "questions"
    source.mkdir()
    kills.write_questions(source, 2000)
    left = kills.kill_run("prepare", signal.SIGTERM, True, 0.2, tmp_path / "kill", source)
    assert (left.processes, left.files, left.after_next, left.next_code) == (0, [], [], 0)


@pytest.mark.parametrize("how", [kills.SPAWNED, kills.ENVIRONMENT])
def test_a_killed_rank_ends_the_other(tmp_path, how):
    _, processes, text = kills.kill_rank(signal.SIGKILL, 0.1, tmp_path, how)
    said = "Rank 1 was killed by SIGKILL"
    if how == kills.ENVIRONMENT:
        said = "Rank 0 ends, since another rank has ended"
    assert processes == 0 and "Traceback" not in text, text
    line = text.splitlines()[-1]
    assert line.startswith(f"error: {said}") and "checkpoint.resume=true" in line


def test_ranks_that_torchrun_starts_end_with_it(monkeypatch):
    import mmf_cli.run
    from mmf.common.registry import registry

    # A process that a rank is registers its configuration; this one is left as it was.
    monkeypatch.setitem(registry.mapping, "state", dict(registry.mapping["state"]))
    config = SimpleNamespace(distributed=SimpleNamespace(rank=0), device_id=0)
    configuration, told = SimpleNamespace(get_config=lambda: config), []
    monkeypatch.setattr(launch, "end_with", lambda *args, **how: told.append((args, how)))
    monkeypatch.setattr(mmf_cli.run, "main", lambda *args, **how: None)
    mmf_cli.run.distributed_main(0, configuration)
    assert not told
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    mmf_cli.run.distributed_main(0, configuration)
    assert told == [((os.getppid(),), {"started_by_main_thread": False})]


def test_sighup_saves_as_sigterm_does(tmp_path):
    file = tmp_path / "current.ckpt"
    opts = (*ENDLESS, "training.num_workers=1")
    run = run_processes(tmp_path, *opts, kill_at=file, signum=signal.SIGHUP, tell=os.killpg)
    assert run.exit_codes == [129], run.output
    assert run.output.count("Interrupted after update") == 1 and "Traceback" not in run.output


def python(code, **options):
    """Start a process that runs this code."""
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, **options
    )


CHILD = """
import os, threading, time
from mmf_bridge.common.parent import end_with
parent = os.getpid()
def start():
    if os.fork() == 0:
        end_with(parent, started_by_main_thread={main})
        print(os.getpid(), flush=True)
        time.sleep(60)
        os._exit(0)
if {main}:
    start()
else:
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
time.sleep(60)
"""


@pytest.mark.parametrize("main", [True, False])
def test_a_process_ends_with_its_parent_not_with_a_thread_of_it(main):
    process = python(CHILD.format(main=main))
    child = int(process.stdout.readline())
    time.sleep(0.2)
    assert os.path.exists(f"/proc/{child}")
    process.kill()
    assert process.stdout.read() == ""  # the child held its other end
    process.wait()


def test_a_parent_that_has_ended_before():
    child = os.fork()
    if child == 0:
        parent.end_with(2**31 - 1, started_by_main_thread=True)
        signal.pause()
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


def test_a_fork_gives_up_sockets_and_keeps_pipes():
    ours, theirs = socket.socketpair()
    read, write = os.pipe()
    ready, go = os.pipe()
    child = os.fork()
    if child == 0:
        parent.leave_parents_descriptors()
        os.write(write, b"x")
        os.read(ready, 1)
        os._exit(0)
    assert os.read(read, 1) == b"x"
    theirs.close()
    assert ours.recv(1) == b""  # nobody holds the other end
    os.write(go, b"x")
    assert os.waitpid(child, 0)[1] == 0
    for descriptor in (read, write, ready, go):
        os.close(descriptor)
