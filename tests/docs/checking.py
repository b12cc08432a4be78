"""What a process of its own says of the options and configurations of the docs.

Plugins register themselves where they are imported, which is not to happen in pytest's process.
"""

import contextlib
import io
import json
import os
import traceback
from functools import cache

import torch
import typer
from omegaconf import OmegaConf

CONFIGS = "projects/clipvil/configs"
_built = []  # sections of networks that can be


def check_all(output, folder, jobs):
    """Write what is wrong with each of the jobs, null for nothing, as JSON.

    Args:
        output: the file to write.
        folder: to work in.
        jobs: name -> (function of this module, its arguments).
    """
    os.chdir(folder)
    torch.set_num_threads(1)
    found, silence = {}, io.StringIO()
    for name, (function, *arguments) in jobs.items():
        try:
            with contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
                globals()[function](*arguments)
            found[name] = None
        except (Exception, SystemExit):  # noqa: BLE001
            found[name] = traceback.format_exc()
    output.write_text(json.dumps(found))


def check_mmf(*words):
    """The options of mmf_run or mmf_predict make a configuration that a run would begin with."""
    config = next(word for word in words if word.startswith("config="))
    _check(config.removeprefix("config="), tuple(word for word in words if word != config))


def check_yaml(file, text):
    """A yaml file of the docs, or a part of one; a network's sections may stand alone."""
    content = OmegaConf.create(text)
    if set(content) <= {"image_encoder", "visual_embedding", "fusion", "classifier", "tuning"}:
        content = OmegaConf.create({"model_config": {"clipvil": content}})
    if "includes" not in content and not (file and "dataset_config" in content):
        content.includes = [f"{CONFIGS}/vqa2.yaml"]
    if "includes" in content:
        name = f"block{len(os.listdir())}.yaml"
        OmegaConf.save(content, name)
        _check(name, ())


def check_torchrun(*words):
    """torchrun's own options, and those of the run."""
    from torch.distributed.run import get_args_parser

    args = get_args_parser().parse_args(words)
    assert args.module and args.training_script in ("mmf_cli.run", "mmf_cli.predict")
    check_mmf(*args.training_script_args)


def check_clipvil(is_named, name, *words):
    """The options of a command are those that it has.

    Args:
        is_named: whether what it requires may be left out.
        name: of the command.
        *words: its arguments.
    """
    from clipvil_mmf.cli.main import subcommand

    command = typer.main.get_command(subcommand(name))
    if is_named:
        for parameter in command.params:
            parameter.required = False
    with command.make_context(name, list(words)):
        pass


@cache
def _check(config, options):
    """Read a configuration by MMF's code, and build what it describes."""
    from mmf.common.registry import registry

    from clipvil_mmf.cli.profile import read_settings, request_of
    from clipvil_mmf.config import from_config
    from clipvil_mmf.network import ClipVilNetwork
    from clipvil_mmf.optim import GroupsConfig
    from clipvil_mmf.vision import clip_grid
    from clipvil_mmf.vision.hub_towers import HubTower

    # What a repository of the hub says of its tower.
    tower = {"vision_cfg": {"layers": 12, "width": 768, "patch_size": 32, "image_size": 224}}
    clip_grid.fetch_tower = lambda repository: HubTower(tower, None)
    settings = read_settings(config, list(options))
    if settings.model != "clipvil":
        return
    request = request_of(settings, 3, 100)
    if request.sections not in _built:
        with torch.device("meta"):
            ClipVilNetwork.from_config(**request.sections, num_labels=3)
        _built.append(request.sections)
    from_config(GroupsConfig, settings.optimizer.get("groups"), "optimizer.groups")
    for name in str(settings.datasets or settings.dataset).split(","):
        params = registry.get_builder_class(name).params_class
        section = OmegaConf.to_container(settings.dataset_config[name], resolve=True)
        from_config(params, section, f"dataset_config.{name}")
