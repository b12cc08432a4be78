"""`clipvil browse` as a command."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clipvil_mmf.browsing.server import Server
from clipvil_mmf.cli.browse import distinct_names, named_files
from clipvil_mmf.cli.main import app
from clipvil_mmf.data import easy_vqa_files
from tests.bridge.runs import ROOT
from tests.browsing.small import write

OWN = ROOT / "tests" / "fixtures" / "own"


@pytest.fixture
def run(monkeypatch):
    """The command, which ends where it would wait for visitors."""

    def interrupted(server: Server) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", interrupted)
    return lambda *words: CliRunner().invoke(app, ["browse", *map(str, words)])


@pytest.fixture(scope="module")
def perfect(tmp_path_factory) -> Path:
    rows = [
        {"question_id": question.question_id, "answer": next(iter(question.answers))}
        for question in easy_vqa_files.read_questions("test")
    ]
    return write(tmp_path_factory.mktemp("perfect"), "perfect", rows)


def test_a_data_set_alone(run) -> None:
    result = run("easy_vqa", "--split", "val", "--port", "0")
    assert result.exit_code == 0, result.output
    first, address, end = result.stdout.splitlines()
    assert first == "easy_vqa val: 3,899 questions on 400 images" and end == "ended"
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/ \(Ctrl-C ends it\)", address)


def test_with_predictions(run, perfect, tmp_path) -> None:
    part = write(tmp_path, "part", json.loads(perfect.read_text())[:73])
    files = ("--predictions", perfect, "--predictions", f"a part={part}")
    result = run("easy_vqa", *files, "--port", "0")
    assert result.exit_code == 0, result.output
    assert f"a part: 73 answers, 9,600 without, of {part}" in result.stdout
    assert f"perfect: 9,673 answers, of {perfect}" in result.stdout


def test_a_question_file(run) -> None:
    result = run(OWN / "questions.json", "--root", OWN / "images", "--port", "0")
    assert result.exit_code == 0 and result.stdout.startswith("questions.json: "), result.output


def test_predictions_of_another_split(run, perfect) -> None:
    result = run("easy_vqa", "--split", "val", "--predictions", perfect)
    assert result.exit_code == 1
    assert "does not fit the questions: ids of no question" in result.output


def test_what_is_missing(run, perfect) -> None:
    result = run("easy_vqa", "--predictions", "gone.json")
    assert result.exit_code == 1 and "--predictions gone.json: there is no such" in result.output
    result = run("gone.json")
    assert result.exit_code == 1 and "gone.json: no such file" in result.output
    result = run("vqa2")
    assert result.exit_code == 1 and "--root DIR" in result.output
    result = run("easy_vqa", "--predictions", perfect, "--predictions", perfect)
    assert result.exit_code == 1 and "is there twice" in result.output


def test_a_taken_port(run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = run("easy_vqa", "--split", "val", "--port", taken.getsockname()[1])
    assert result.exit_code == 1 and "Give another --port" in result.output


def test_names_of_runs(tmp_path) -> None:
    for name in ("a/x/r1.json", "b/x/r1.json", "b/x/r2.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    first, other, same = (tmp_path / name for name in ("a/x/r1.json", "b/x/r1.json", "b/x/r2.json"))
    assert distinct_names([first]) == ["r1"]
    assert distinct_names([first, other]) == ["a", "b"]
    assert distinct_names([other, same]) == ["r1", "r2"]
    assert distinct_names([first, other, same]) == ["a/x/r1", "b/x/r1", "b/x/r2"]
    assert named_files([f"r1={same}", str(other)[:-5] + ".json"][:1]) == {"r1": same}
    with pytest.raises(ValueError, match="r1 is there twice"):
        named_files([f"r1={same}", str(first)])


def test_it_serves_until_it_is_interrupted() -> None:
    command = [sys.executable, "-m", "clipvil_mmf.cli.main", "browse", "easy_vqa", "--port", "0"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background job would pass over Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        process.stdout.readline()
        address = process.stdout.readline().split()[0]
        assert b"9,673" in urllib.request.urlopen(address).read()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "ended\n", "")


def test_what_it_imports() -> None:
    """Neither torch nor MMF: the page is there in a second."""
    code = (
        "import sys\n"
        "from clipvil_mmf.browsing.server import Server\n"
        "Server.serve_forever = lambda self: print('torch' in sys.modules, 'mmf' in sys.modules)\n"
        "from clipvil_mmf.cli.main import app\n"
        "app(['browse', 'easy_vqa', '--split', 'val', '--port', '0'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "False False", done.stderr
