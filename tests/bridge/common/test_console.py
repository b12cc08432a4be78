"""Logs and consoles that cannot be written: a line each, and the run goes on."""

import logging
import os
import sys

import pytest

from mmf_bridge.common import console


@pytest.fixture(autouse=True)
def one_console(monkeypatch):
    """The handlers of this process are left as they were."""
    before = {name: logging.getLogger(name).handlers for name in ("py.warnings", console._SPEAKER)}
    monkeypatch.setattr(console, "_on_root", [])
    yield
    console.leave_root()
    for name, handlers in before.items():
        logging.getLogger(name).handlers = handlers


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has this device")
def test_a_log_on_a_full_disk(capfd):
    log = logging.FileHandler("/dev/full")
    console.speak([log], ["mmf_bridge"], logging.INFO)
    logger = logging.getLogger("mmf_bridge.a_test")
    logger.propagate = False
    logger.handlers = [log]
    for number in range(3):
        logger.warning("line %d", number)
    said = capfd.readouterr().err
    assert said == "warning: the log /dev/full lacks lines: [Errno 28] No space left on device\n"
    logger.handlers = []


def test_a_console_that_nobody_reads(capfd, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    closed = os.fdopen(writer, "w")
    monkeypatch.setattr(sys, "stdout", closed)
    console.speak([], ["mmf_bridge"], logging.INFO)
    for number in range(3):
        console.say(f"line {number}")
    assert capfd.readouterr().err == "warning: the console lacks lines: [Errno 32] Broken pipe\n"
    with pytest.raises(BrokenPipeError):
        closed.close()
