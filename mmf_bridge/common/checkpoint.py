"""Patches of ``mmf.utils.checkpoint``: whole files, safe reading, and a resume that resumes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from omegaconf import OmegaConf

from mmf_bridge.common import checkpoint_files as files
from mmf_bridge.common.console import say
from mmf_bridge.common.distributed import (
    broadcast_object,
    gather_objects,
    get_rank,
    synchronize,
    unwrap,
)
from mmf_bridge.common.replace import replace
from mmf_bridge.common.resuming import choose_checkpoint, lies_in, own_checkpoints
from mmf_bridge.common.save_dir import files_of_runs
from mmf_bridge.protocols import AdaptsStateDict, CompletesConfiguration, WritesFinal

_RESET_BY = {"scaler": "fp16_scaler"}


def patch(module: ModuleType) -> None:
    """Replace ``Checkpoint``; file names and keys stay MMF's."""

    class Checkpoint(module.Checkpoint):
        __doc__ = module.Checkpoint.__doc__

        _is_loaded = False

        def save_config(self) -> None:
            # MMF asks for it before anything is loaded: a resume that is refused would leave its
            # own configuration beside another run's checkpoints.
            if not self._is_loaded and files_of_runs(self.ckpt_foldername):
                return
            # Predicting leaves the configuration of the training beside its checkpoints.
            if get_rank() == 0 and not OmegaConf.select(self.config, "evaluation.predict"):
                config = self.config
                written = getattr(self.trainer, "written_intervals", None)
                if isinstance(written, Mapping) and written:
                    # As the user wrote it: the next run with this file may be longer.
                    config = OmegaConf.merge(config, {"training": dict(written)})
                plain = OmegaConf.to_container(config, resolve=True)
                model = unwrap(self.trainer.model)
                if isinstance(model, CompletesConfiguration):
                    plain = model.complete_configuration(plain)
                path = os.path.join(self.ckpt_foldername, "config.yaml")
                with module.PathManager.open(path, "w") as f:
                    f.write(OmegaConf.to_yaml(OmegaConf.create(plain)))

        # Where the trainer of a line has what is asked of it here; it may be of another class.
        def _say(self, message: str) -> None:
            self.trainer.writer.write(message)

        def _announce(self, message: str) -> None:
            self._say(message)
            if get_rank() == 0:
                say(message)

        def _early_stopping(self) -> Any:
            return self.trainer.early_stopping

        def _parts(self) -> dict[str, Any]:
            """What a resumed run continues beside model, optimizer and counters, by its key."""
            return {name: getattr(self.trainer, name, None) for name in ("lr_scheduler", "scaler")}

        def _option(self, key: str, default: Any = None) -> Any:
            value = OmegaConf.select(self.config, f"checkpoint.{key}")
            return default if value is None else value

        def load_state_dict(self) -> None:
            self._load_chosen()
            self._is_loaded = True
            self.save_config()

        def _load_chosen(self) -> None:
            choice = choose_checkpoint(self.config, self.ckpt_foldername, self.ckpt_prefix)
            if choice is not None:
                self._load(choice.file, load_pretrained=not choice.is_whole)
            elif self._option("resume", False):
                own = own_checkpoints(self.config, self.ckpt_foldername, self.ckpt_prefix)
                self._announce(
                    f"Nothing to resume: neither {own[0]} nor {own[1]} exists. "
                    "Training starts from the beginning"
                )

        def _load(self, file: str, force: bool = False, load_pretrained: bool = False) -> None:
            self._say(f"Loading checkpoint {file}")
            if file == self._option("resume_zoo") and not force:
                ckpt, go_on = self._load_from_zoo(file)
                if not go_on:
                    return
            else:
                ckpt = self._torch_load(file, mapped=force)
            if not isinstance(ckpt, Mapping):
                raise ValueError(f"{file} holds a {type(ckpt).__name__}, not a checkpoint")
            if "model" not in ckpt:
                ckpt = {"model": ckpt}
            state = self.upgrade_state_dict(self._adapted(ckpt["model"], file))
            if load_pretrained and not force:
                self._load_pretrained(state)
                return

            incompatible = self.trainer.model.load_state_dict(state, strict=False)
            files.report_keys(file, incompatible.missing_keys, incompatible.unexpected_keys)
            if force:
                return
            reset = {
                name: bool(self._option("reset.all") or self._option(f"reset.{name}"))
                for name in ("optimizer", "counts", "fp16_scaler")
            }
            if not reset["optimizer"]:
                self._load_optimizer(ckpt)
            if not reset["counts"]:
                # Else the best.ckpt that it speaks of is not the one of this folder.
                is_own = lies_in(file, self.ckpt_foldername)
                if is_own:
                    self._early_stopping().init_from_checkpoint(ckpt)
                self._load_counts(ckpt)
                self._load_position(ckpt)
                if is_own:
                    updates = self.trainer.num_updates
                    self.trainer.last_saved = updates
                    self.trainer.last_evaluated = ckpt.get("last_evaluated", updates)
            for name, part in self._parts().items():
                if part and ckpt.get(name) and not reset[_RESET_BY.get(name, "counts")]:
                    part.load_state_dict(files.continued(part.state_dict(), ckpt[name]))
            self._announce(
                f"Checkpoint loaded: update {self.trainer.num_updates}, "
                f"epoch {self.trainer.current_epoch}"
            )

        def _adapted(self, state: Mapping[str, Any], file: str) -> Mapping[str, Any]:
            """A state dict in the model's names, by the model itself if it knows of others."""
            model = unwrap(self.trainer.model)
            if not isinstance(model, AdaptsStateDict):
                return state
            return model.adapt_state_dict(state, file)

        def _load_position(self, ckpt: Mapping[str, Any]) -> None:
            self.trainer.batches_done = ckpt.get("batches_done")
            self.trainer.resumed_seed = ckpt.get("sampler_seed")
            states = ckpt.get("rng_states") or []
            if len(states) > get_rank():
                self.trainer.resumed_rng = states[get_rank()]
            self.trainer.epoch_rng = ckpt.get("epoch_rng")

        def _load_counts(self, ckpt: Mapping[str, Any]) -> None:
            """Take the counters; with ``checkpoint.resume_best`` those of the best evaluation."""
            trainer, best = self.trainer, bool(self._option("resume_best", False))
            update, iteration = (
                ("best_update", "best_iteration") if best else ("num_updates", "current_iteration")
            )
            if "best_update" not in ckpt:  # files older than MMF 1.0 count iterations alone
                update = iteration = "current_iteration" if best else "best_iteration"
            trainer.num_updates = ckpt.get(update, trainer.num_updates)
            trainer.current_iteration = ckpt.get(iteration, trainer.current_iteration)
            trainer.current_epoch = ckpt.get(
                "best_epoch", ckpt.get("current_epoch", trainer.current_epoch)
            )
            for name in ("num_updates", "current_iteration", "current_epoch"):
                module.registry.register(name, getattr(trainer, name))

        def _load_from_zoo(self, file: str) -> Any:
            zoo = module.load_pretrained_model(file)
            if self._option("zoo_config_override"):
                model_cls = module.registry.get_model_class(self.trainer.config.model)
                self.trainer.model = model_cls.from_pretrained(self._option("resume_zoo"))
                self.trainer.config.model_config = zoo["full_config"].model_config
                return None, False
            return {"model": zoo["checkpoint"]}, True

        def _torch_load(self, file: str, mapped: bool = False) -> Any:
            module._hack_imports()
            device, trusted = self.device or "cpu", self._option("trust_pickle")
            return files.safe_load(file, map_location=device, trusted=trusted, mapped=mapped)

        def _get_vcs_fields(self) -> dict[str, str]:
            head = self.git_repo.head
            return {
                # A checkout of a tag or commit is on no branch.
                "git/branch": "" if head.is_detached else self.git_repo.active_branch.name,
                "git/commit_hash": head.commit.name_rev,
                "git/commit_author": head.commit.author.name,
                "git/commit_message": head.commit.message,
                "git/diff": self.git_repo.git.diff("--no-prefix"),
            }

        def save(
            self, update: int, iteration: int | None = None, update_best: bool = False
        ) -> None:
            """Write ``models/model_N.ckpt``, ``current.ckpt`` and, if asked, ``best.ckpt``.

            Every process calls it: each adds the state of its random number generators.

            Raises:
                RuntimeError: a weight is not finite; nothing is written.
                OSError: a file could not be written.
            """
            rng_states = gather_objects(files.rng_state())
            trainer = self.trainer
            state = unwrap(trainer.model).state_dict()
            self._refuse_what_is_not_finite(state, update)
            trainer.last_saved = update
            if get_rank() != 0:
                return
            best = self._early_stopping()
            ckpt = {
                "model": state,
                "optimizer": trainer.optimizer.state_dict(),
                "best_iteration": best.best_monitored_iteration,
                "current_iteration": iteration or update,
                "current_epoch": trainer.current_epoch,
                "num_updates": update,
                "best_update": best.best_monitored_update,
                "best_metric_value": best.best_monitored_value,
                "last_evaluated": getattr(trainer, "last_evaluated", None),
                "batches_done": getattr(trainer, "batches_done", 0),
                "sampler_seed": module.registry.get("sampler_seed", no_warning=True),
                "rng_states": rng_states,
                "epoch_rng": getattr(trainer, "epoch_rng", None),
                "config": self.config,
            }
            for name, part in self._parts().items():
                if part is not None:
                    ckpt[name] = files.numbers(part.state_dict())
            if self.git_repo:
                ckpt.update(self._get_vcs_fields())
            ckpt = files.plain(ckpt)

            numbered = os.path.join(self.models_foldername, f"model_{update}.ckpt")
            files.atomic_save(ckpt, numbered)
            for name, wanted in (("best.ckpt", update_best), ("current.ckpt", True)):
                if wanted:
                    path = os.path.join(self.ckpt_foldername, self.ckpt_prefix + name)
                    files.link_or_save(ckpt, numbered, path)
            files.prune(self.models_foldername, self._option("max_to_keep", -1))

        def _refuse_what_is_not_finite(self, state: Mapping[str, Any], update: int) -> None:
            """Raise on all processes if rank 0's weights are not finite, but were at the start."""
            bad = files.not_finite(state) if get_rank() == 0 else []
            excused = getattr(self.trainer, "not_finite_at_start", ())
            bad = broadcast_object([name for name in bad if name not in excused])
            if not bad:
                return
            last = getattr(self.trainer, "last_saved", None)
            current = os.path.join(self.ckpt_foldername, self.ckpt_prefix + "current.ckpt")
            stands = "There is no checkpoint from before"
            if last is not None:
                stands = f"{current} stands as it was after update {last}"
            raise RuntimeError(
                f"The weights are not finite after update {update} ({files.listed(bad, 1)}): "
                f"training stopped, and nothing was saved. {stands}; try a lower learning rate, or "
                "training.detect_anomaly=true to find where it comes from"
            )

        def remove_files(self) -> None:
            """Remove the checkpoints of an earlier run in the same folder."""
            names = (self.ckpt_prefix + name for name in ("best.ckpt", "current.ckpt"))
            named = [os.path.join(self.ckpt_foldername, name) for name in names]
            for path in (*named, self.pth_filepath):
                Path(path).unlink(missing_ok=True)
            files.prune(self.models_foldername, 0)

        def restore(self) -> None:
            """Load the weights of this run's best evaluation, if it has had one."""
            # A best.ckpt may lie there from an earlier run with the same env.save_dir.
            if self._early_stopping().best_monitored_update <= 0:
                return
            synchronize()
            path = os.path.join(self.ckpt_foldername, self.ckpt_prefix + "best.ckpt")
            if module.PathManager.exists(path):
                self._say("Restoring the best checkpoint")
                self._load(path, force=True)

        def finalize(self) -> None:
            if get_rank() != 0:
                return
            model = unwrap(self.trainer.model)
            files.atomic_save(model.state_dict(), self.pth_filepath)
            if isinstance(model, WritesFinal):
                model.write_final(self.ckpt_foldername)

    def load_pretrained_model(model_name_or_path: str, *args: Any, **kwargs: Any) -> Any:
        """Read the one checkpoint, and its yaml if it has one, of a folder or of MMF's zoo."""
        folder = model_name_or_path
        if not module.PathManager.exists(folder):
            folder = module.download_pretrained_model(model_name_or_path, *args, **kwargs)
        found = {
            kind: [p for p in sorted(Path(folder).iterdir()) if p.suffix in suffixes]
            for kind, suffixes in (("yaml", {".yaml"}), ("checkpoint", {".ckpt", ".pth", ".pt"}))
        }
        if len(found["checkpoint"]) != 1 or len(found["yaml"]) > 1:
            raise ValueError(
                f"{folder} must hold one checkpoint (.ckpt, .pth or .pt) and at most one .yaml; "
                f"it holds {[p.name for kind in found.values() for p in kind]}"
            )
        module._hack_imports()
        config = module.registry.get("config", no_warning=True)
        trusted = OmegaConf.select(config, "checkpoint.trust_pickle") if config else None
        ckpt = files.safe_load(found["checkpoint"][0], trusted=trusted)
        if found["yaml"]:
            full = module.load_yaml(str(found["yaml"][0]))
        elif "config" in ckpt:
            full = ckpt["config"]
        else:
            raise ValueError(f"{found['checkpoint'][0]} has no config, nor a .yaml beside it")
        key = os.path.basename(model_name_or_path).split(".")[0]
        return {
            "config": full.get("model_config", full).get(key),
            "checkpoint": ckpt.get("model", ckpt),
            "full_config": full,
        }

    replace(module, Checkpoint, load_pretrained_model)
