"""What an option's text means, and what is said of a wrong one."""

import pytest

from mmf_bridge.common.commandline import check_keys, check_option, decode_value, option_pairs

CONFIG = {"training": {"batch_size": 1, "early_stop": {"patience": 2}}, "losses": [{"type": "a"}]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        (" False ", False),
        ("TRUE", True),
        ("null", None),
        ("none", None),
        ("3", 3),
        ("1e-4", 1e-4),
        ("'true'", "true"),
        ("(1, 2)", (1, 2)),
        ("trueish", "trueish"),
        ("./save/current.ckpt", "./save/current.ckpt"),
        ("", ""),
        (5, 5),
    ],
)
def test_values(text, value):
    assert decode_value(text) == value
    assert type(decode_value(text)) is type(value)


@pytest.mark.parametrize(
    ("opts", "pairs"),
    [
        (None, []),
        (["a=1", "b=x=y"], [("a", "1"), ("b", "x=y")]),
        (["a=", "b=1"], [("a", ""), ("b", "1")]),
        (["a", "1", "b", "x=y"], [("a", "1"), ("b", "x=y")]),
    ],
)
def test_pairs(opts, pairs):
    assert option_pairs(opts) == pairs


@pytest.mark.parametrize("opts", [["a=1", "b"], ["a", "1", "b"]])
def test_an_option_without_a_value(opts):
    with pytest.raises(ValueError, match="Option 'b' has no value"):
        option_pairs(opts)


@pytest.mark.parametrize(
    "key", ["training.batch_size", "training.early_stop.patience", "losses[0].type"]
)
def test_options_that_exist(key):
    check_option(CONFIG, key)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("training.batchsize", r"Unknown option training\.batchsize.*mean training\.batch_size\?"),
        ("training.early_stop.patients", r"Did you mean training\.early_stop\.patience\?"),
        ("training.xyz", r"training has no key 'xyz'\. Its keys: batch_size, early_stop"),
        ("trainign", r"the configuration has no key 'trainign'\. Did you mean training\?"),
        ("training.batch_size.more", r"training\.batch_size has no key 'more'"),
        ("training.early_stop", r"is a section: set its keys one by one"),
    ],
)
def test_options_that_do_not(key, message):
    with pytest.raises(ValueError, match=message):
        check_option(CONFIG, key)


def test_parameters_are_added_to_params_null():
    config = {"encoder": {"type": "a", "params": None}, "plain": None}
    check_option(config, "encoder.params.widths")
    assert config["encoder"]["params"] == {"widths": None}
    with pytest.raises(ValueError, match="plain has no key 'widths'"):
        check_option(config, "plain.widths")


DEFAULT = {
    **{"training": {"batch_size": 512, "early_stop": {"enabled": False, "patience": 4000}}},
    **{"checkpoint": {"resume": False, "pretrained_state_mapping": {}}},
    **{"model_config": {}, "optimizer": {}},
}


@pytest.mark.parametrize(
    ("user", "message"),
    [
        (
            {"training": {"batch_sise": 3}},
            r"training\.batch_sise\. Did you mean training\.batch_si",
        ),
        (
            {"training": {"early_stop": {"patiense": 3}}},
            r"Did you mean training\.early_stop\.patience",
        ),
        ({"checkpoint": {"qqq": 3}}, r"Unknown key checkpoint\.qqq\. Its keys: .*resume_file"),
        ({"trainning": {"batch_size": 3}}, r"Unknown key trainning\. Did you mean training"),
        ({"nonsense": 3}, r"Unknown key nonsense\. Its keys: .*training.*A plugin's own key"),
    ],
)
def test_a_key_of_a_yaml_that_nobody_has(user, message):
    with pytest.raises(ValueError, match=message):
        check_keys(user, DEFAULT, {})


def test_a_plugins_own_keys_stand_in_its_defaults():
    check_keys(
        {"mine": {"any": 1}, "training": {"own": 2}}, DEFAULT, {"mine": {}, "training": {"own": 1}}
    )


def test_sections_of_any_keys():
    check_keys({"model_config": {"x": 1}, "optimizer": {"groups": 1}}, DEFAULT, {})
    check_keys({"checkpoint": {"pretrained_state_mapping": {"a": "b"}}}, DEFAULT, {})


def test_a_key_of_mmfs_other_line_gets_a_warning():
    with pytest.warns(UserWarning, match=r"training\.colored_logs has no effect on this line"):
        check_keys({"training": {"colored_logs": True}}, DEFAULT, {})
