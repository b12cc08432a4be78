"""Which checkpoint a run loads."""

import pytest
from omegaconf import OmegaConf

from mmf_bridge.common.resuming import CheckpointChoice, choose_checkpoint

MAPPING = {"resume_pretrained": True, "pretrained_state_mapping": {"a": "a"}}


@pytest.mark.parametrize(
    ("section", "there", "expected"),
    [
        ({}, ("current.ckpt",), None),
        ({"resume": True}, (), None),
        ({"resume": True}, ("current.ckpt", "best.ckpt"), ("current.ckpt", True, True)),
        ({"resume": True}, ("best.ckpt",), ("best.ckpt", True, True)),
        (
            {"resume": True, "resume_best": True},
            ("current.ckpt", "best.ckpt"),
            ("best.ckpt", True, True),
        ),
        ({"resume_file": "a.pth"}, ("current.ckpt", "a.pth"), ("a.pth", False, True)),
        ({"resume_file": "a.pth", "resume": True}, ("a.pth",), ("a.pth", False, True)),
        (
            {"resume_file": "a.pth", "resume": True},  # which may be gone by then
            ("current.ckpt",),
            ("current.ckpt", True, True),
        ),
        ({"resume_file": "a.pth", **MAPPING}, ("a.pth",), ("a.pth", False, False)),
        ({"resume_file": "a.pth", "resume_pretrained": True}, ("a.pth",), ("a.pth", False, True)),
        ({"resume": True, **MAPPING}, ("current.ckpt",), ("current.ckpt", True, True)),
        ({"resume_zoo": "tiny.one"}, ("current.ckpt",), ("tiny.one", False, True)),
        (
            {"resume_zoo": "tiny.one", "resume": True},
            ("current.ckpt",),
            ("current.ckpt", True, True),
        ),
    ],
)
def test_what_is_loaded(tmp_path, monkeypatch, section, there, expected):
    monkeypatch.chdir(tmp_path)
    for name in there:
        (tmp_path / name).touch()
    config = OmegaConf.create({"checkpoint": section, "env": {"save_dir": ""}})
    assert choose_checkpoint(config) == (expected and CheckpointChoice(*expected))


def test_what_is_missing(tmp_path):
    checkpoint = {"resume": True}
    config = OmegaConf.create({"checkpoint": checkpoint, "evaluation": {"predict": True}})
    with pytest.raises(FileNotFoundError, match=rf"neither {tmp_path}/tiny_current\.ckpt nor "):
        choose_checkpoint(config, str(tmp_path), "tiny_")
    (tmp_path / "tiny_current.ckpt").touch()
    assert choose_checkpoint(config, str(tmp_path), "tiny_").is_own
    config.checkpoint.resume_file = str(tmp_path / "nowhere.pth")
    assert choose_checkpoint(config, str(tmp_path), "tiny_").is_own
    config.checkpoint.resume = False
    with pytest.raises(FileNotFoundError, match=r"resume_file .*nowhere\.pth does not exist"):
        choose_checkpoint(config, str(tmp_path))
