"""The table of patches: which function patches which module of MMF, on which line, and why.

Functions are written `"package.module:function"`, so that reading this table imports nothing. They
are called with the module after it was executed, in the order given here; those with `before` are
called with its name before that. `python -m tests.bridge.without` runs their tests without them.
"""

from __future__ import annotations

import os
from typing import NamedTuple

LINES = ("rc7", "main")
WITHOUT = "MMF_BRIDGE_WITHOUT"
_FAULTS = "MMF itself"


class Patch(NamedTuple):
    """A function of the bridge, and the module of MMF that it patches."""

    module: str
    function: str
    # What made it necessary: a package from that version on, or a fault of MMF as published.
    since: str
    # The test, in tests/bridge/, that fails without it.
    test: str
    lines: tuple[str, ...] = LINES
    before: bool = False


RC7, MAIN = ("rc7",), ("main",)
TABLE = (
    # Start, options and names
    Patch(
        "mmf.utils.env",
        "mmf_bridge.common.names:patch_env",
        _FAULTS,
        "test_startup.py::test_a_run_imports_no_more_than_it_uses",
    ),
    Patch(
        "mmf.common.registry",
        "mmf_bridge.common.names:patch_registry",
        _FAULTS,
        "test_lazy.py::test_a_name_imports_the_module_that_registers_it",
    ),
    Patch(
        "mmf.common.registry",
        "mmf_bridge.common.same_names:patch",
        "a plugin with a dataset of MMF's name",
        "both/test_same_names.py::test_mmfs_models_keep_mmfs_dataset_and_its_defaults",
    ),
    Patch(
        "mmf.utils.configuration",
        "mmf_bridge.common.configuration:patch",
        "omegaconf 2.1",
        "both/test_configuration.py::test_a_yaml_alone_names_model_and_dataset",
        RC7,
    ),
    Patch(
        "mmf.utils.configuration",
        "mmf_bridge.main.configuration:patch",
        _FAULTS,
        "both/test_configuration.py::test_a_yaml_alone_names_model_and_dataset",
        MAIN,
    ),
    Patch(
        "mmf.utils.env",
        "mmf_bridge.common.configuration:patch_env",
        _FAULTS,
        "both/test_plugins.py::test_a_user_dir_that_is_not_there",
        RC7,
    ),
    Patch(
        "mmf.utils.env",
        "mmf_bridge.main.configuration:patch_env",
        _FAULTS,
        "both/test_plugins.py::test_a_user_dir_that_is_not_there",
        MAIN,
    ),
    Patch(
        "mmf.utils.general",
        "mmf_bridge.common.configuration:patch_general",
        _FAULTS,
        "rc7/test_configuration.py::test_a_yaml_is_found_in_a_dotted_user_dir",
        RC7,
    ),
    Patch(
        "mmf.utils.general",
        "mmf_bridge.common.configuration:patch_general",
        _FAULTS,
        "main/test_options.py::test_a_yaml_is_found_in_a_dotted_user_dir",
        MAIN,
    ),
    Patch(
        "mmf.utils.logger",
        "mmf_bridge.moved:patch_mapping",
        "Python 3.10",
        "test_moved.py::test_mapping_is_found_without_touching_collections",
        RC7,
    ),
    Patch(
        "mmf.utils.logger",
        "mmf_bridge.common.logger:patch_class",
        _FAULTS,
        "both/test_configuration.py::test_a_second_run_logs_each_line_once_and_starts_afresh",
        RC7,
    ),
    Patch(
        "mmf.utils.logger",
        "mmf_bridge.common.logger:patch_setup",
        _FAULTS,
        "both/test_configuration.py::test_a_second_run_logs_each_line_once_and_starts_afresh",
        MAIN,
    ),
    Patch(
        "mmf.utils.logger",
        "mmf_bridge.common.tensorboard:patch",
        _FAULTS,
        "both/test_console.py::test_a_run_has_one_folder_of_tensorboards",
    ),
    Patch(
        "mmf.utils.patch",
        "mmf_bridge.main.command:patch_transformers",
        _FAULTS,
        "main/test_options.py::test_a_start_imports_no_models_of_transformers_for_their_names",
        MAIN,
    ),
    Patch(
        "mmf_cli.run",
        "mmf_bridge.rc7.command:patch",
        _FAULTS,
        "both/test_configuration.py::test_a_second_run_logs_each_line_once_and_starts_afresh",
        RC7,
    ),
    Patch(
        "mmf_cli.run",
        "mmf_bridge.main.command:patch",
        _FAULTS,
        "both/test_configuration.py::test_a_second_run_logs_each_line_once_and_starts_afresh",
        MAIN,
    ),
    Patch(
        "mmf_cli.predict",
        "mmf_bridge.common.launch:patch_predict",
        _FAULTS,
        "both/test_configuration.py::test_predict_takes_options_and_leaves_the_command_line_alone",
    ),
    Patch(
        "mmf",
        "mmf_bridge.main.lightning:import_lightly",
        "Lightning 2",
        "test_startup.py::test_a_run_imports_no_more_than_it_uses",
        MAIN,
        before=True,
    ),
    # Names that moved
    Patch(
        "mmf.datasets.builders.charades._utils",
        "mmf_bridge.moved:lend",
        "torchvision 0.26",
        "main/test_options.py::test_names_lent_to_mmf_are_taken_back",
        MAIN,
        before=True,
    ),
    Patch(
        "mmf.datasets.builders.charades._utils",
        "mmf_bridge.moved:take_back",
        "torchvision 0.26",
        "main/test_options.py::test_names_lent_to_mmf_are_taken_back",
        MAIN,
    ),
    # Data
    Patch(
        "mmf.common.sample",
        "mmf_bridge.common.loading:patch_sample_list",
        "a plugin whose batches hold each image once",
        "both/test_resume.py::test_a_killed_run_continues_bit_for_bit",
    ),
    Patch(
        "mmf.common.dataset_loader",
        "mmf_bridge.rc7.loading:patch_dataset_loader",
        _FAULTS,
        "both/test_training.py::test_datasets_with_only_some_splits",
        RC7,
    ),
    Patch(
        "mmf.datasets.multi_dataset_loader",
        "mmf_bridge.rc7.loading:patch_multi_dataset_loader",
        _FAULTS,
        "both/test_training.py::test_several_datasets_are_mixed_and_scored_apart",
        RC7,
    ),
    Patch(
        "mmf.datasets.multi_dataset_loader",
        "mmf_bridge.main.loading:patch_multi_loader",
        _FAULTS,
        "both/test_training.py::test_several_datasets_are_mixed_and_scored_apart",
        MAIN,
    ),
    Patch(
        "mmf.datasets.multi_datamodule",
        "mmf_bridge.main.loading:patch_datamodule",
        _FAULTS,
        "main/test_loading.py::test_a_builder_may_make_its_own_loader",
        MAIN,
    ),
    Patch(
        "mmf.datasets.base_dataset_builder",
        "mmf_bridge.main.loading:patch_builder",
        _FAULTS,
        "both/test_training.py::test_datasets_with_only_some_splits",
        MAIN,
    ),
    Patch(
        "mmf.datasets.builders.vqa2.dataset",
        "mmf_bridge.common.question_ids:patch",
        _FAULTS,
        "both/test_evaluation.py::test_mmfs_own_vqa_dataset_keeps_any_question_id",
    ),
    Patch(
        "mmf.datasets.builders.textvqa.dataset",
        "mmf_bridge.common.question_ids:patch",
        _FAULTS,
        "both/test_evaluation.py::test_mmfs_own_vqa_dataset_keeps_any_question_id",
    ),
    Patch(
        "mmf.datasets.builders.gqa.dataset",
        "mmf_bridge.common.question_ids:patch",
        _FAULTS,
        "both/test_evaluation.py::test_mmfs_own_vqa_dataset_keeps_any_question_id",
        MAIN,
    ),
    Patch(
        "mmf.utils.build",
        "mmf_bridge.rc7.loading:patch_build",
        _FAULTS,
        "both/test_resume.py::test_a_killed_run_continues_bit_for_bit",
        RC7,
    ),
    Patch(
        "mmf.utils.build",
        "mmf_bridge.main.loading:patch_build",
        _FAULTS,
        "both/test_resume.py::test_a_killed_run_continues_bit_for_bit",
        MAIN,
    ),
    Patch(
        "mmf.utils.build",
        "mmf_bridge.common.registered:patch",
        _FAULTS,
        "both/test_configuration.py::test_a_name_that_nobody_registered",
    ),
    Patch(
        "mmf.utils.download",
        "mmf_bridge.common.zoo:patch",
        _FAULTS,
        "common/test_zoo.py::test_a_file_put_there_by_hand_is_unpacked",
    ),
    # Training, evaluation and checkpoints
    Patch(
        "mmf.trainers.base_trainer",
        "mmf_bridge.rc7.trainer:patch",
        _FAULTS,
        "both/test_training.py::test_max_updates_is_exact",
        RC7,
    ),
    Patch(
        "mmf.trainers.mmf_trainer",
        "mmf_bridge.main.trainer:patch",
        _FAULTS,
        "both/test_training.py::test_max_updates_is_exact",
        MAIN,
    ),
    Patch(
        "mmf.common.test_reporter",
        "mmf_bridge.rc7.reporter:patch",
        _FAULTS,
        "both/test_evaluation.py::test_a_question_keeps_its_own_id",
        RC7,
    ),
    Patch(
        "mmf.common.test_reporter",
        "mmf_bridge.main.reporter:patch",
        _FAULTS,
        "both/test_evaluation.py::test_a_question_keeps_its_own_id",
        MAIN,
    ),
    Patch(
        "mmf.utils.checkpoint",
        "mmf_bridge.common.checkpoint:patch",
        "torch 2.6",
        "both/test_checkpoints.py::test_every_file_of_a_run_loads_by_torchs_safe_default",
        RC7,
    ),
    Patch(
        "mmf.utils.checkpoint",
        "mmf_bridge.main.checkpoint:patch",
        "torch 2.6",
        "both/test_checkpoints.py::test_every_file_of_a_run_loads_by_torchs_safe_default",
        MAIN,
    ),
    Patch(
        "mmf.utils.early_stopping",
        "mmf_bridge.common.early_stopping:patch",
        _FAULTS,
        "both/test_training.py::test_an_unknown_criterion_that_would_stop_is_refused_before_training",
    ),
    Patch(
        "mmf.utils.distributed",
        "mmf_bridge.common.distributed:patch",
        _FAULTS,
        "both/test_distributed.py::test_two_processes_train_one_model_as_one_process_does",
    ),
    Patch(
        "mmf.utils.inference",
        "mmf_bridge.main.inference:patch",
        "a plugin whose models prepare images and texts by themselves",
        "main/test_inference.py::test_mmfs_inference_answers_by_a_model_of_a_plugin",
        MAIN,
    ),
    # Models
    Patch(
        "mmf.models.visual_bert",
        "mmf_bridge.common.models:patch_visual_bert",
        "transformers 5",
        "models/test_rc7.py::test_visual_bert_from_scratch",
        RC7,
    ),
    Patch(
        "mmf.models.vilbert",
        "mmf_bridge.common.models:patch_vilbert",
        "transformers 5",
        "models/test_rc7.py::test_vilbert_takes_pretrained_weights",
        RC7,
    ),
    Patch(
        "mmf.models.fusions",
        "mmf_bridge.common.models:patch_fusion_models",
        _FAULTS,
        "models/test_models.py::test_a_model_trains_and_predicts[concat_bert]",
        RC7,
    ),
    Patch(
        "mmf.models.pythia",
        "mmf_bridge.common.models:patch_pythia",
        _FAULTS,
        "models/test_models.py::test_a_model_trains_and_predicts[pythia_image_only]",
    ),
    Patch(
        "mmf.modules.embeddings",
        "mmf_bridge.common.models:patch_embeddings",
        _FAULTS,
        "models/test_models.py::test_a_model_trains_and_predicts[visual_bert]",
        RC7,
    ),
    Patch(
        "mmf.modules.fusions",
        "mmf_bridge.common.models:patch_fusions",
        "torch 1.8",
        "models/test_rc7.py::test_compact_bilinear_pooling_is_a_circular_convolution",
        RC7,
    ),
    Patch(
        "mmf.modules.layers",
        "mmf_bridge.common.models:patch_layers",
        _FAULTS,
        "models/test_models.py::test_a_model_trains_and_predicts[ban]",
    ),
    Patch(
        "mmf.modules.hf_layers",
        "mmf_bridge.main.models:patch_hf_layers",
        "transformers 5",
        "models/test_models.py::test_bert_of_transformers_stays_as_it_is",
        MAIN,
    ),
    Patch(
        "mmf.modules.vit",
        "mmf_bridge.main.models:patch_vit",
        "transformers 5",
        "models/test_models.py::test_the_weights_of_a_vit_are_those_of_its_file",
        MAIN,
    ),
    Patch(
        "mmf.utils.vocab",
        "mmf_bridge.common.word_vectors:patch",
        "torch 2.4 (torchtext)",
        "models/test_word_vectors.py::test_random_vectors_are_drawn",
    ),
)


def left_out() -> set[str]:
    """The functions of patches that the environment's `MMF_BRIDGE_WITHOUT` leaves out.

    It names them with commas between them: to see whether a patch is at fault.

    Raises:
        ValueError: it names one that is not in the table.
    """
    without = set(filter(None, os.environ.get(WITHOUT, "").split(",")))
    unknown = without - {patch.function for patch in TABLE}
    if unknown:
        raise ValueError(
            f"{WITHOUT}: got {', '.join(sorted(unknown))}, which is not a function of a patch; "
            "`python -m mmf_bridge --patches` lists them"
        )
    return without


def patches_of(line: str, module: str | None = None) -> list[Patch]:
    """The patches of a module of MMF (of all) on a line, in their order, but for those left out."""
    without = left_out()
    return [
        patch
        for patch in TABLE
        if module in (None, patch.module) and line in patch.lines and patch.function not in without
    ]
