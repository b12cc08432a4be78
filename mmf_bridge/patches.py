"""The table of patches: which function patches which module of MMF, on which line.

`BEFORE` are called with the module's name before it is executed, `PATCHES` with the module itself
afterwards, in the order given. Each is written `"package.module:function"`, so that reading this
table imports nothing.
"""

from __future__ import annotations

BEFORE: dict[str, dict[str, tuple[str, ...]]] = {
    "rc7": {
        "mmf.modules.optimizers": ("mmf_bridge.moved:lend",),
    },
    "main": {
        "mmf.datasets.builders.charades._utils": ("mmf_bridge.moved:lend",),
        "mmf.modules.optimizers": ("mmf_bridge.moved:lend",),
    },
}

PATCHES: dict[str, dict[str, tuple[str, ...]]] = {
    "rc7": {
        "mmf.common.dataset_loader": ("mmf_bridge.rc7.loading:patch_dataset_loader",),
        "mmf.common.registry": ("mmf_bridge.common.same_names:patch",),
        "mmf.common.sample": ("mmf_bridge.common.sample_list:patch",),
        "mmf.common.test_reporter": ("mmf_bridge.rc7.reporter:patch",),
        "mmf.datasets.builders.textvqa.dataset": ("mmf_bridge.common.question_ids:patch",),
        "mmf.datasets.builders.vqa2.dataset": ("mmf_bridge.common.question_ids:patch",),
        "mmf.datasets.multi_dataset_loader": ("mmf_bridge.rc7.loading:patch_multi_dataset_loader",),
        "mmf.models.vilbert": ("mmf_bridge.rc7.models:patch_vilbert",),
        "mmf.models.visual_bert": ("mmf_bridge.rc7.models:patch_visual_bert",),
        "mmf.modules.embeddings": ("mmf_bridge.rc7.models:patch_embeddings",),
        "mmf.modules.fusions": ("mmf_bridge.rc7.models:patch_fusions",),
        "mmf.modules.optimizers": ("mmf_bridge.moved:take_back",),
        "mmf.trainers.base_trainer": ("mmf_bridge.rc7.trainer:patch",),
        "mmf.utils.build": (
            "mmf_bridge.rc7.loading:patch_build",
            "mmf_bridge.common.registered:patch",
        ),
        "mmf.utils.checkpoint": ("mmf_bridge.common.checkpoint:patch",),
        "mmf.utils.configuration": ("mmf_bridge.common.configuration:patch",),
        "mmf.utils.distributed": ("mmf_bridge.common.distributed:patch",),
        "mmf.utils.download": ("mmf_bridge.common.zoo:patch",),
        "mmf.utils.early_stopping": ("mmf_bridge.common.early_stopping:patch",),
        "mmf.utils.env": ("mmf_bridge.common.configuration:patch_env",),
        "mmf.utils.general": ("mmf_bridge.common.configuration:patch_general",),
        "mmf.utils.logger": (
            "mmf_bridge.moved:patch_mapping",
            "mmf_bridge.common.logger:patch_class",
        ),
        "mmf_cli.predict": ("mmf_bridge.common.launch:patch_predict",),
        "mmf_cli.run": ("mmf_bridge.rc7.command:patch",),
    },
    "main": {
        "mmf.common.registry": ("mmf_bridge.common.same_names:patch",),
        "mmf.common.sample": ("mmf_bridge.common.sample_list:patch",),
        "mmf.common.test_reporter": ("mmf_bridge.main.reporter:patch",),
        "mmf.datasets.base_dataset_builder": ("mmf_bridge.main.loading:patch_builder",),
        "mmf.datasets.builders.charades._utils": ("mmf_bridge.moved:take_back",),
        "mmf.datasets.builders.gqa.dataset": ("mmf_bridge.common.question_ids:patch",),
        "mmf.datasets.builders.textvqa.dataset": ("mmf_bridge.common.question_ids:patch",),
        "mmf.datasets.builders.vqa2.dataset": ("mmf_bridge.common.question_ids:patch",),
        "mmf.datasets.multi_datamodule": ("mmf_bridge.main.loading:patch_datamodule",),
        "mmf.datasets.multi_dataset_loader": ("mmf_bridge.main.loading:patch_multi_loader",),
        "mmf.modules.optimizers": ("mmf_bridge.moved:take_back",),
        "mmf.trainers.mmf_trainer": ("mmf_bridge.main.trainer:patch",),
        "mmf.utils.build": (
            "mmf_bridge.main.loading:patch_build",
            "mmf_bridge.common.registered:patch",
        ),
        "mmf.utils.checkpoint": ("mmf_bridge.main.checkpoint:patch",),
        "mmf.utils.configuration": ("mmf_bridge.main.configuration:patch",),
        "mmf.utils.distributed": ("mmf_bridge.common.distributed:patch",),
        "mmf.utils.download": ("mmf_bridge.common.zoo:patch",),
        "mmf.utils.early_stopping": ("mmf_bridge.common.early_stopping:patch",),
        "mmf.utils.env": ("mmf_bridge.main.configuration:patch_env",),
        "mmf.utils.general": ("mmf_bridge.common.configuration:patch_general",),
        "mmf.utils.logger": ("mmf_bridge.common.logger:patch_setup",),
        "mmf.utils.patch": ("mmf_bridge.main.startup:patch",),
        "mmf_cli.predict": ("mmf_bridge.common.launch:patch_predict",),
        "mmf_cli.run": ("mmf_bridge.main.command:patch",),
    },
}
