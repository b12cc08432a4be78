"""The table of mends: which function mends which module of MMF, on which line.

`BEFORE` are called with the module's name before it is executed, `MENDS` with the module itself
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

MENDS: dict[str, dict[str, tuple[str, ...]]] = {
    "rc7": {
        "mmf.common.dataset_loader": ("mmf_bridge.rc7.loading:mend_dataset_loader",),
        "mmf.common.sample": ("mmf_bridge.common.sample_list:mend",),
        "mmf.common.test_reporter": ("mmf_bridge.rc7.reporter:mend",),
        "mmf.datasets.builders.textvqa.dataset": ("mmf_bridge.common.question_ids:mend",),
        "mmf.datasets.builders.vqa2.dataset": ("mmf_bridge.common.question_ids:mend",),
        "mmf.datasets.multi_dataset_loader": ("mmf_bridge.rc7.loading:mend_multi_dataset_loader",),
        "mmf.models.vilbert": ("mmf_bridge.rc7.models:mend_vilbert",),
        "mmf.models.visual_bert": ("mmf_bridge.rc7.models:mend_visual_bert",),
        "mmf.modules.embeddings": ("mmf_bridge.rc7.models:mend_embeddings",),
        "mmf.modules.fusions": ("mmf_bridge.rc7.models:mend_fusions",),
        "mmf.modules.optimizers": ("mmf_bridge.moved:take_back",),
        "mmf.trainers.base_trainer": ("mmf_bridge.rc7.trainer:mend",),
        "mmf.utils.build": ("mmf_bridge.rc7.loading:mend_build",),
        "mmf.utils.checkpoint": ("mmf_bridge.common.checkpoint:mend",),
        "mmf.utils.configuration": (
            "mmf_bridge.common.configuration:mend",
            "mmf_bridge.common.zoo:mend_configuration",
        ),
        "mmf.utils.distributed": ("mmf_bridge.rc7.distributed:mend",),
        "mmf.utils.download": ("mmf_bridge.common.zoo:mend_download",),
        "mmf.utils.early_stopping": ("mmf_bridge.common.early_stopping:mend",),
        "mmf.utils.env": ("mmf_bridge.common.configuration:mend_env",),
        "mmf.utils.general": ("mmf_bridge.common.configuration:mend_general",),
        "mmf.utils.logger": ("mmf_bridge.moved:mend_mapping", "mmf_bridge.rc7.logger:mend"),
        "mmf_cli.predict": ("mmf_bridge.common.launch:mend_predict",),
        "mmf_cli.run": ("mmf_bridge.rc7.command:mend",),
    },
    "main": {
        "mmf.common.sample": ("mmf_bridge.common.sample_list:mend",),
        "mmf.common.test_reporter": ("mmf_bridge.main.reporter:mend",),
        "mmf.datasets.base_dataset_builder": ("mmf_bridge.main.loading:mend_builder",),
        "mmf.datasets.builders.charades._utils": ("mmf_bridge.moved:take_back",),
        "mmf.datasets.builders.gqa.dataset": ("mmf_bridge.common.question_ids:mend",),
        "mmf.datasets.builders.textvqa.dataset": ("mmf_bridge.common.question_ids:mend",),
        "mmf.datasets.builders.vqa2.dataset": ("mmf_bridge.common.question_ids:mend",),
        "mmf.datasets.multi_datamodule": ("mmf_bridge.main.loading:mend_datamodule",),
        "mmf.datasets.multi_dataset_loader": ("mmf_bridge.main.loading:mend_multi_loader",),
        "mmf.modules.optimizers": ("mmf_bridge.moved:take_back",),
        "mmf.trainers.mmf_trainer": ("mmf_bridge.main.trainer:mend",),
        "mmf.utils.build": ("mmf_bridge.main.loading:mend_build",),
        "mmf.utils.checkpoint": ("mmf_bridge.main.checkpoint:mend",),
        "mmf.utils.configuration": (
            "mmf_bridge.main.configuration:mend",
            "mmf_bridge.common.zoo:mend_configuration",
        ),
        "mmf.utils.distributed": ("mmf_bridge.main.distributed:mend",),
        "mmf.utils.download": ("mmf_bridge.common.zoo:mend_download",),
        "mmf.utils.early_stopping": ("mmf_bridge.common.early_stopping:mend",),
        "mmf.utils.env": ("mmf_bridge.main.configuration:mend_env",),
        "mmf.utils.general": ("mmf_bridge.common.configuration:mend_general",),
        "mmf.utils.logger": ("mmf_bridge.main.logger:mend",),
        "mmf.utils.patch": ("mmf_bridge.main.startup:mend",),
        "mmf_cli.predict": ("mmf_bridge.common.launch:mend_predict",),
        "mmf_cli.run": ("mmf_bridge.main.command:mend",),
    },
}
