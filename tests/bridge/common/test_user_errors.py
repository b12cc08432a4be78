"""A user's error on the command line is one line."""

import sys

import pytest
from torch._utils import ExceptionWrapper

from mmf_bridge.common.user_errors import is_for_users, message, one_line_errors
from tests.bridge.main.conftest import mmf  # noqa: F401 (a fixture)
from tests.bridge.runs import options


def test_a_misspelt_value_ends_the_command_in_one_line(tmp_path, monkeypatch, capsys):
    import mmf_cli.run

    wrong = options(tmp_path, ["checkpoint.resume=fales"])
    monkeypatch.setattr(sys, "argv", ["mmf_run", *wrong])
    with pytest.raises(SystemExit) as ended:
        mmf_cli.run.run()
    assert ended.value.code == 1
    assert "Traceback" not in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["mmf_run", *wrong, "training.logger_level=debug"])
    with pytest.raises(ValueError, match="fales"):
        mmf_cli.run.run()


class OurError(ValueError):
    """An error of a plugin."""


OurError.__module__ = "clipvil_mmf.data.images"


def test_the_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["mmf_run"])
    with pytest.raises(SystemExit), one_line_errors():
        raise OurError("a.jpg is damaged")
    expected = "error: a.jpg is damaged (training.logger_level=debug shows where it was found)\n"
    assert capsys.readouterr().err == expected


def test_faults_of_the_code_keep_their_traceback():
    for fault in (KeyError("x"), ValueError("too many values to unpack")):
        with pytest.raises(type(fault)), one_line_errors():
            raise fault


def test_the_message_of_a_worker():
    try:
        raise OurError("a.jpg is damaged:\nits header is cut")
    except OurError:
        wrapped = ExceptionWrapper(where="in DataLoader worker process 0")
    with pytest.raises(OurError) as error:
        wrapped.reraise()
    assert is_for_users(error.value)
    assert message(error.value) == "a.jpg is damaged:\nits header is cut"
