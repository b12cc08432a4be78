"""Options, yaml files and plugins."""

import argparse
import os
import sys

import pytest
import torch
from omegaconf import OmegaConf

from mmf_bridge.common.user_errors import is_for_users
from tests.bridge.runs import YAML, run_here

FAST = ("training.max_updates=1", "run_type=train", "training.evaluation_interval=100")


@pytest.fixture(autouse=True)
def fresh_registry():
    """Main keeps these from one configuration to the next."""
    from mmf.common.registry import registry

    for key in ("__mmf_user_dir_imported__", "config", "configuration"):
        registry.unregister(key)


def configuration(*opts, override=None):
    from mmf.utils.configuration import Configuration

    arguments = argparse.Namespace(config_override=override, opts=list(opts))
    return Configuration(arguments).get_config()


def test_a_yaml_alone_names_model_and_dataset():
    config = configuration(f"config={YAML}")
    assert (config.model, config.datasets) == ("tiny", "tiny")
    assert config.model_config.tiny.dropout == 0.3  # the model's own defaults
    assert config.dataset_config.tiny.ids == "int"


def test_a_yaml_may_list_several_datasets(tmp_path):
    yaml = OmegaConf.load(YAML)
    del yaml["dataset"]
    yaml.datasets = ["tiny", "tiny_two"]
    OmegaConf.save(yaml, tmp_path / "two.yaml")
    config = configuration(f"config={tmp_path / 'two.yaml'}")
    assert {"tiny", "tiny_two"} <= set(config.dataset_config)


def test_the_command_line_names_the_dataset_before_the_yaml():
    config = configuration(f"config={YAML}", "dataset=tiny_two", "training.batch_size=3")
    assert (config.datasets, config.training.batch_size) == ("tiny_two", 3)
    assert "tiny_two" in config.dataset_config


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("True", True),
        ("false", False),
        ("FALSE", False),
        ("null", None),
        ("None", None),
        ("2", 2),
        ("1e-3", 1e-3),
        ("[1,2]", [1, 2]),
        ("word", "word"),
        ("a=b=c", "a=b=c"),
        ("http://host/x?y=z", "http://host/x?y=z"),
    ],
)
def test_values_of_options(text, value):
    config = configuration(f"config={YAML}", f"checkpoint.resume_file={text}")
    assert config.checkpoint.resume_file == value


def without_device(tmp_path):
    yaml = OmegaConf.load(YAML)
    del yaml.training["device"]
    OmegaConf.save(yaml, tmp_path / "any.yaml")
    return f"config={tmp_path / 'any.yaml'}"


def test_only_who_asks_for_a_gpu_is_told_that_there_is_none(tmp_path, monkeypatch, recwarn):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = without_device(tmp_path)
    assert configuration(config).training.device == "cpu"
    assert not [w for w in recwarn if "cuda" in str(w.message)]
    message = r"training\.device is cuda, but no GPU was found\. Give training\.device=cpu"
    with pytest.raises(ValueError, match=message):
        configuration(config, "training.device=cuda")
    with pytest.raises(ValueError, match=message):
        configuration(config, override='{training: {device: "cuda"}}')
    OmegaConf.save({"includes": [config[7:]], "training": {"device": "cuda"}}, tmp_path / "on.yaml")
    with pytest.raises(ValueError, match=message):
        configuration(f"config={tmp_path / 'on.yaml'}")


def test_mmfs_own_defaults_ask_for_no_gpu_and_have_the_newer_keys(monkeypatch):
    from mmf.utils.configuration import load_yaml

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    defaults = ("config=configs/defaults.yaml", "model=pythia", "dataset=vqa2")
    assert configuration(*defaults).training.device == "cpu"
    with pytest.raises(ValueError, match=r"training\.device is cuda, but no GPU was found"):
        configuration(*defaults, "training.device=cuda")
    # What somebody builds on, who does not use Configuration.
    assert load_yaml("configs/defaults.yaml").training.leftover_batches == "step"


@pytest.mark.parametrize("name", ["gpu9", "cuda:2", "CPU", "cuda:", "xla"])
def test_a_device_that_is_not_there_is_named_with_those_that_are(tmp_path, monkeypatch, name):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    config = without_device(tmp_path)
    message = rf"training\.device is {name}: this machine has cpu, cuda, cuda:0, cuda:1$"
    with pytest.raises(ValueError, match=message):
        configuration(config, f"training.device={name}")
    assert configuration(config, "training.device=cuda:1").training.device == "cuda:1"
    assert configuration(config).training.device == "cuda"


def test_one_gpu_is_that_of_one_process(tmp_path, monkeypatch):
    import mmf_cli.run

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    started = []
    monkeypatch.setattr(mmf_cli.run, "main", lambda found, **_: started.append(found.get_config()))
    mmf_cli.run.run([without_device(tmp_path), "training.device=cuda:1"])
    assert (started[0].device_id, started[0].distributed.world_size) == (1, 1)
    with pytest.raises(ValueError, match="one GPU for several processes"):
        mmf_cli.run.run(
            [
                without_device(tmp_path),
                *("training.device=cuda:1", "distributed.init_method=tcp://localhost:1"),
            ]
        )


def test_options_as_pairs():
    config = configuration(
        *("config", str(YAML), "training.batch_size", "3", "checkpoint.resume", "true")
    )
    assert (config.training.batch_size, config.checkpoint.resume) == (3, True)


def test_override_as_json():
    config = configuration(f"config={YAML}", override="{training: {batch_size: 5}}")
    assert config.training.batch_size == 5


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("training.batchsize=3", r"Unknown option training\.batchsize.*mean training\.batch_size"),
        ("model_config.tiny.dropuot=0.1", r"Did you mean model_config\.tiny\.dropout"),
        ("nonsense=1", r"Unknown option nonsense.*Its keys"),
        ("dataset_config.tiny.sizes={}", r"is a section"),
        ("training.batch_size", r"has no value"),
    ],
)
def test_a_bad_option_is_one_clear_error(option, message):
    with pytest.raises(ValueError, match=message):
        configuration(f"config={YAML}", option)


def changed(tmp_path, **keys):
    yaml = OmegaConf.load(YAML)
    for key, value in keys.items():
        OmegaConf.update(yaml, key.replace("__", "."), value)
    OmegaConf.save(yaml, tmp_path / "changed.yaml")
    return f"config={tmp_path / 'changed.yaml'}"


def test_a_misspelt_key_of_a_yaml(tmp_path):
    with pytest.raises(ValueError, match=r"training\.batch_sizes.*Did you mean"):
        configuration(changed(tmp_path, training__batch_sizes=3))


def test_a_foreign_key_of_a_yaml_is_one_of_the_models_defaults(tmp_path, monkeypatch):
    from tests.bridge.tiny_plugin.model import Tiny

    foreign = changed(tmp_path, training__of_a_plugin=3)
    with pytest.raises(ValueError, match=r"Unknown key training\.of_a_plugin.*plugin's own key"):
        configuration(foreign)
    defaults = OmegaConf.load(Tiny.config_path())
    defaults.training = {"of_a_plugin": 1}
    OmegaConf.save(defaults, tmp_path / "model.yaml")
    monkeypatch.setattr(Tiny, "config_path", lambda: str(tmp_path / "model.yaml"))
    assert configuration(foreign).training.of_a_plugin == 3


def test_a_yaml_is_found_in_installed_plugins(monkeypatch, tmp_path):
    from importlib.metadata import EntryPoint

    from mmf_bridge.common import plugins

    entry = EntryPoint("tests", "tests", plugins.GROUP)
    monkeypatch.setattr(plugins, "entry_points", lambda group: [entry])
    monkeypatch.chdir(tmp_path)
    assert configuration("config=tests/bridge/tiny_plugin/tiny.yaml").model == "tiny"


def test_a_missing_yaml_says_where_it_was_looked_for():
    with pytest.raises(FileNotFoundError, match=r"No configuration file nowhere\.yaml.*plugins"):
        configuration("config=nowhere.yaml")


def test_resolvers_of_plugins_survive():
    OmegaConf.register_new_resolver("of_a_plugin", lambda: 7, replace=True)
    configuration(f"config={YAML}")
    assert OmegaConf.create({"a": "${of_a_plugin:}"}).a == 7


def test_both_lines_spellings_of_an_environment_variable(monkeypatch):
    configuration(f"config={YAML}")
    monkeypatch.setenv("TINY", "here")
    config = OmegaConf.create({"a": "${env:TINY}", "b": "${oc.env:TINY}", "c": "${env:NOT,x}"})
    assert (config.a, config.b, config.c) == ("here", "here", "x")
    with pytest.raises(Exception, match="environment variable NOT is not set"):
        OmegaConf.create({"a": "${env:NOT}"}).a  # noqa: B018


def test_the_configuration_can_be_sent_to_other_processes():
    import pickle

    from mmf.utils.configuration import Configuration

    arguments = argparse.Namespace(config_override=None, opts=[f"config={YAML}"])
    sent = pickle.loads(pickle.dumps(Configuration(arguments)))
    assert sent.get_config().model == "tiny"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "tinny"}, r"No model named 'tinny'.*Did you mean tiny"),
        ({"dataset": "tinny"}, r"No dataset named 'tinny'.*Did you mean tiny"),
        ({"training.trainer": None}, r"No training.trainer named None is registered"),
        ({"training.trainer": "mff"}, r"No training.trainer named 'mff'.*Did you mean mmf"),
    ],
)
def test_a_name_that_nobody_registered(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        run_here(tmp_path, *FAST, changes=changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer.type": None}, r"No optimizer\.type named None is registered"),
        ({"optimizer.type": ["SGD"]}, r"No optimizer\.type named \['SGD'\] is registered"),
        ({"scheduler.type": None}, r"No scheduler\.type named None is registered"),
        ({"optimizer.params": 3}, r"optimizer\.params is 3: expected a section"),
        ({"optimizer.params.lr": "fast"}, r"optimizer\.params\.lr is 'fast': expected a number"),
        ({"optimizer.params.lr": None}, r"optimizer\.params\.lr is None: expected a number"),
        ({"optimizer.params.lr": [1]}, r"optimizer\.params\.lr is \[1\]: expected a number"),
        ({"optimizer.params.lr": True}, r"optimizer\.params\.lr is True: expected a number"),
        ({"optimizer.params.lr": float("nan")}, r"optimizer\.params\.lr is nan: expected a num"),
        ({"optimizer.params.lr": -1}, r"optimizer\.params: \w+ does not take .*lr.*-1"),
        ({"optimizer.params.lrr": 1}, r"params\.lrr: there is no such argument\. Did you mean lr"),
        (
            {"optimizer": {"type": "AdamW", "params": {"lr": 1e-3, "betas": [0.9]}}},
            r"optimizer\.params\.betas is \[0\.9\]: expected 2 numbers, such as \[0\.9, 0\.99",
        ),
        (
            {"optimizer": {"type": "AdamW", "params": {"lr": 1e-3, "betas": [0.9, 2]}}},
            r"optimizer\.params: AdamW does not take .*betas.*Invalid beta",
        ),
    ],
)
def test_arguments_of_an_optimizer_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        run_here(tmp_path, *FAST, changes=changes)
    assert is_for_users(caught.value)  # one line, without a traceback


@pytest.mark.parametrize("missing", ["model", "dataset"])
def test_nothing_names_the_model_or_the_dataset(tmp_path, missing):
    with pytest.raises(ValueError, match=f"No {missing} is named"):
        configuration(changed(tmp_path, **{missing: None}))


@pytest.mark.parametrize("name", ["mmf", "base_trainer"])
def test_both_lines_names_of_the_trainer(tmp_path, name):
    run = run_here(tmp_path, *FAST, f"training.trainer={name}")
    assert type(run.trainer).__name__ == "MMFTrainer"


@pytest.mark.parametrize("seed", ["null", "0", "7", "-1"])
def test_any_seed_or_none(tmp_path, seed):
    runs = [
        run_here(tmp_path / str(i), *FAST, f"training.seed={seed}", "model_config.tiny.norm=false")
        for i in (0, 1)
    ]
    assert torch.backends.cudnn.deterministic is (seed in ("0", "7"))
    first, second = (run.checkpoint()["model"]["linear.weight"] for run in runs)
    assert torch.equal(first, second) is (seed in ("0", "7"))


def test_a_second_run_logs_each_line_once_and_starts_afresh(tmp_path, capsys):
    first = run_here(tmp_path / "first", *FAST)
    capsys.readouterr()
    second = run_here(tmp_path / "second", *FAST)
    assert capsys.readouterr().out.count("tiny on tiny") == 1
    for run in (first, second):
        assert run.log().count("Starting training...") == 1
    assert torch.equal(
        first.checkpoint()["model"]["linear.weight"], second.checkpoint()["model"]["linear.weight"]
    )
    datasets = [run.trainer.train_loader.get_datasets()[0] for run in (first, second)]
    assert datasets[0] is not datasets[1]


def test_processors_of_the_first_run_are_forgotten(tmp_path):
    from mmf.common.registry import registry

    run_here(tmp_path / "first", *FAST)
    registry.register("tiny_text_processor", "of the first run")
    run_here(tmp_path / "second", *FAST)
    assert registry.get("tiny_text_processor", no_warning=True) is None


def test_predict_takes_options_and_leaves_the_command_line_alone(tmp_path, monkeypatch):
    import mmf_cli.predict

    arguments = ["mmf_predict", "config", str(YAML), "env.save_dir", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", list(arguments))
    mmf_cli.predict.predict()
    assert sys.argv == arguments
    opts = [f"config={YAML}", f"env.save_dir={tmp_path}", "run_type=val"]
    mmf_cli.predict.predict(opts)
    assert len(opts) == 3  # stock MMF adds to the caller's list
    names = sorted(os.path.basename(path)[:12] for path in tmp_path.rglob("reports/*_*.json"))
    assert names == ["tiny_run_tes", "tiny_run_val"]
