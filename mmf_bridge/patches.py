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
        "mmf.common.sample": ("mmf_bridge.common.sample_list:patch",),
        "mmf.common.test_reporter": ("mmf_bridge.rc7.reporter:patch",),
        "mmf.datasets.builders.textvqa.dataset": ("mmf_bridge.common.question_ids:patch",),
        "mmf.datasets.builders.vqa2.dataset": ("mmf_bridge.common.question_ids:patch",),
        "mmf.datasets.multi_dataset_loader": ("mmf_bridge.rc7.loading:patch_multi_dataset_loader",),
        "mmf.models.fusions": ("mmf_bridge.common.models:patch_fusion_models",),
        "mmf.models.pythia": ("mmf_bridge.common.models:patch_pythia",),
        "mmf.models.vilbert": ("mmf_bridge.common.models:patch_vilbert",),
        "mmf.models.visual_bert": ("mmf_bridge.common.models:patch_visual_bert",),
        "mmf.modules.embeddings": ("mmf_bridge.common.models:patch_embeddings",),
        "mmf.modules.fusions": ("mmf_bridge.common.models:patch_fusions",),
        "mmf.modules.layers": ("mmf_bridge.common.models:patch_layers",),
        "mmf.modules.optimizers": ("mmf_bridge.moved:take_back",),
        "mmf.trainers.base_trainer": ("mmf_bridge.rc7.trainer:patch",),
        "mmf.utils.build": ("mmf_bridge.rc7.loading:patch_build",),
        "mmf.utils.checkpoint": ("mmf_bridge.common.checkpoint:patch",),
        "mmf.utils.configuration": (
            "mmf_bridge.common.configuration:patch",
            "mmf_bridge.common.zoo:patch_configuration",
        ),
        "mmf.utils.distributed": ("mmf_bridge.rc7.distributed:patch",),
        "mmf.utils.download": ("mmf_bridge.common.zoo:patch_download",),
        "mmf.utils.early_stopping": ("mmf_bridge.common.early_stopping:patch",),
        "mmf.utils.env": ("mmf_bridge.common.configuration:patch_env",),
        "mmf.utils.general": ("mmf_bridge.common.configuration:patch_general",),
        "mmf.utils.logger": ("mmf_bridge.moved:patch_mapping", "mmf_bridge.rc7.logger:patch"),
        "mmf.utils.vocab": ("mmf_bridge.common.word_vectors:patch",),
        "mmf_cli.predict": ("mmf_bridge.common.launch:patch_predict",),
        "mmf_cli.run": ("mmf_bridge.rc7.command:patch",),
    },
    "main": {
        "mmf.common.sample": ("mmf_bridge.common.sample_list:patch",),
        "mmf.common.test_reporter": ("mmf_bridge.main.reporter:patch",),
        "mmf.datasets.base_dataset_builder": ("mmf_bridge.main.loading:patch_builder",),
        "mmf.datasets.builders.charades._utils": ("mmf_bridge.moved:take_back",),
        "mmf.datasets.builders.gqa.dataset": ("mmf_bridge.common.question_ids:patch",),
        "mmf.datasets.builders.textvqa.dataset": ("mmf_bridge.common.question_ids:patch",),
        "mmf.datasets.builders.vqa2.dataset": ("mmf_bridge.common.question_ids:patch",),
        "mmf.datasets.multi_datamodule": ("mmf_bridge.main.loading:patch_datamodule",),
        "mmf.datasets.multi_dataset_loader": ("mmf_bridge.main.loading:patch_multi_loader",),
        "mmf.models.pythia": ("mmf_bridge.common.models:patch_pythia",),
        "mmf.modules.hf_layers": ("mmf_bridge.main.models:patch_hf_layers",),
        "mmf.modules.layers": ("mmf_bridge.common.models:patch_layers",),
        "mmf.modules.optimizers": ("mmf_bridge.moved:take_back",),
        "mmf.modules.vit": ("mmf_bridge.main.models:patch_vit",),
        "mmf.trainers.mmf_trainer": ("mmf_bridge.main.trainer:patch",),
        "mmf.utils.build": ("mmf_bridge.main.loading:patch_build",),
        "mmf.utils.checkpoint": ("mmf_bridge.main.checkpoint:patch",),
        "mmf.utils.configuration": (
            "mmf_bridge.main.configuration:patch",
            "mmf_bridge.common.zoo:patch_configuration",
        ),
        "mmf.utils.distributed": ("mmf_bridge.main.distributed:patch",),
        "mmf.utils.download": ("mmf_bridge.common.zoo:patch_download",),
        "mmf.utils.early_stopping": ("mmf_bridge.common.early_stopping:patch",),
        "mmf.utils.env": ("mmf_bridge.main.configuration:patch_env",),
        "mmf.utils.general": ("mmf_bridge.common.configuration:patch_general",),
        "mmf.utils.logger": ("mmf_bridge.main.logger:patch",),
        "mmf.utils.patch": ("mmf_bridge.main.startup:patch",),
        "mmf.utils.vocab": ("mmf_bridge.common.word_vectors:patch",),
        "mmf_cli.predict": ("mmf_bridge.common.launch:patch_predict",),
        "mmf_cli.run": ("mmf_bridge.main.command:patch",),
    },
}
