"""What MMF's keys mean, of both its lines and those that the bridge adds.

A key may have ``*`` for any part, an index of a list among them: ``model_config.*.losses.*.type``.
Of several that fit, the first counts.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

_SECTIONS = {
    "config": "The yaml file of this run.",
    "config_version": "The version of MMF's layout of configurations.",
    "model": "The model to train, by its name in MMF's registry.",
    "dataset": "The dataset, or several with commas between them; see datasets.",
    "datasets": "The datasets to train on: a name, or several with commas between them.",
    "run_type": "What is done, words of train, val, test (or inference), joined by _.",
    "learning_rate": "The optimizer's learning rate, over optimizer.params.lr; null leaves that.",
    "other_configs": "Of projects of MMF main; it has no effect on a run.",
    "start_rank": "Of a saved run: the rank of its first process on this host.",
    "device_id": "Of a saved run: the number of its GPU.",
    "includes": "Other yaml files that this one is merged over, relative to MMF or to this file.",
    "model_config": "The sections of the models, by name.",
    "dataset_config": "The sections of the datasets, by name.",
    "optimizer": "The optimizer and its arguments.",
    "scheduler": "The schedule of the learning rate; training.lr_scheduler turns it on.",
    "training": "How a run trains.",
    "evaluation": "How a model is evaluated, and what predictions are written.",
    "checkpoint": "What is saved and loaded.",
    "distributed": "Several processes.",
    "env": "Folders.",
}

_TRAINING = {
    "trainer": "The trainer: mmf (or base_trainer, the same). lightning is refused.",
    "seed": "The seed of all random numbers; -1 draws one, null sets none.",
    "experiment_name": "A name for the run, in its reports and the names of prediction files.",
    "max_updates": "Updates at most; null for as many as max_epochs has.",
    "max_epochs": "Epochs at most, before max_updates where both are given; null for none.",
    "log_interval": "Updates between two lines of the log, or auto.",
    "evaluation_interval": "Updates between two evaluations of the val split, or auto.",
    "checkpoint_interval": "Updates between two checkpoints, or auto.",
    "logger_level": "The least level of messages that are logged.",
    "log_format": "Of the lines of the log.",
    "log_detailed_config": "Log the whole configuration at the start.",
    "should_not_log": "Log nothing.",
    "colored_logs": "Colours in the log on a terminal; of MMF main.",
    "tensorboard": "Write TensorBoard files into env.tensorboard_logdir.",
    "wandb": "Weights & Biases, of MMF main: what else stands here is passed to wandb.init.",
    "wandb.enabled": "Log to Weights & Biases.",
    "wandb.entity": "The user or team there; null for one's own.",
    "wandb.project": "The project there.",
    "wandb.name": "The run's name there.",
    "wandb.log_checkpoint": "Save checkpoints there as artifacts.",
    "trackers": "Trackers of the run, on both lines; docs/tracking.md.",
    "trackers.use": "Their names, a list or with commas between them.",
    "trackers.project": "What the run is filed under there; null for the datasets' names.",
    "trackers.name": "The run's name there; null for that of its folder.",
    "trackers.images": "Questions of the val split that are drawn with the model's answers at each "
    "evaluation; 0 for none.",
    "trackers.params": "Arguments of the trackers, a section for each by its name.",
    "trackers.params.*": "An argument of this tracker.",
    "batch_size": "Samples of a batch over all processes; each has its share.",
    "batch_size_per_device": "Samples of a batch of one process, instead of batch_size.",
    "update_frequency": "Batches whose gradients one update adds up.",
    "leftover_batches": "What becomes of an epoch's last batches that fill no update: an update "
    "of their own, carried into the next epoch, or dropped.",
    "num_workers": "Processes that load data; 0 loads it in the run's own.",
    "persistent_workers": "Keep these processes from one epoch to the next.",
    "pin_memory": "Put batches into pinned memory, from which copies to a GPU are asynchronous.",
    "fast_read": "Read some of MMF's datasets into memory as a whole.",
    "dataset_size_proportional_sampling": "With several datasets, draw each as often as it has "
    "samples.",
    "clip_gradients": "Limit the norm of the gradients to max_grad_l2_norm.",
    "max_grad_l2_norm": "The largest norm of the gradients, with clip_gradients.",
    "clip_norm_mode": "Which gradients the norm is of.",
    "early_stop": "Stop where the criteria no longer gets better; it also says what best.ckpt is.",
    "early_stop.enabled": "Stop early; false only keeps the best checkpoint.",
    "early_stop.patience": "Updates without a better value after which the run stops.",
    "early_stop.criteria": "What is watched: total_loss, or a metric as DATASET/METRIC.",
    "early_stop.minimize": "Whether a smaller value is better.",
    "lr_scheduler": "Change the learning rate as the section scheduler says.",
    "lr_steps": "Of the scheduler pythia: updates at which the rate is multiplied by lr_ratio.",
    "lr_ratio": "Of the scheduler pythia: the factor at each of lr_steps.",
    "use_warmup": "Of the scheduler pythia: begin with a smaller rate.",
    "warmup_factor": "Of the scheduler pythia: the share of the rate that it begins with.",
    "warmup_iterations": "Of the scheduler pythia: updates until the full rate.",
    "encoder_lr_multiply": "Of Pythia and MoVie-MCAN: the factor of the image encoder's rate.",
    "device": "Where the model runs: cpu, cuda or one GPU such as cuda:1.",
    "local_rank": "The rank of this process on its host; the launcher sets it.",
    "precision": "What the forward pass computes in; null for fp16 where fp16 is true, else fp32.",
    "fp16": "The older spelling of precision: fp16.",
    "compile": "Compile the model by torch.compile: true, or a section of backend, mode, dynamic, "
    "fullgraph, freezing.",
    "verbose_dump": "Log what some of MMF's datasets and models hold.",
    "find_unused_parameters": "With several processes, allow parameters without a gradient.",
    "evaluate_metrics": "Compute the metrics of training batches, too, every log_interval.",
    "detect_anomaly": "Look for the operation whose gradient is not a number; slow.",
    "exit_on_nan_losses": "Stop where a loss is not a number.",
    "cudnn_benchmark": "Let cuDNN measure which algorithm is the fastest for each shape.",
    "callbacks": "A list of {type, params}: callbacks of one's own, of MMF main.",
    # Keys of MMF's own yaml files that its trainer does not read, and keys of other names by now.
    "task_size_proportional_sampling": "The older name of dataset_size_proportional_sampling.",
    "max_iterations": "The older name of max_updates; it has no effect.",
    "snapshot_interval": "The older name of checkpoint_interval; it has no effect.",
    "stdout_capture": "Of MMF's first trainer; it has no effect.",
    "resume": "The older place of checkpoint.resume.",
    "resume_file": "The older place of checkpoint.resume_file.",
    "resume_best": "The older place of checkpoint.resume_best.",
    "load_pretrained": "The older name of checkpoint.resume_pretrained.",
    "pretrained_state_mapping": "The older place of checkpoint.pretrained_state_mapping.",
    "run_type": "The older place of run_type.",
}

_EVALUATION = {
    "metrics": "The metrics of the val and test splits, by name or {type, params}.",
    "use_cpu": "Keep what the metrics need on the CPU.",
    "predict": "Write predictions; mmf_predict sets it.",
    "predict_file_format": "Of the prediction files.",
    "untrained": "Score or predict with the weights that the model is built with.",
    "reporter": "What gathers predictions, of MMF main.",
    "reporter.type": "Of the reporter: file.",
    "reporter.params": "Arguments of the reporter.",
}

_CHECKPOINT = {
    "resume": "Go on from current.ckpt in env.save_dir, where there is one.",
    "resume_best": "Take best.ckpt instead of the last checkpoint.",
    "resume_file": "A file to load, of this or another run, or an entry of MMF's model zoo.",
    "resume_zoo": "An entry of MMF's model zoo to load; resume_file goes before it.",
    "resume_pretrained": "Load only what pretrained_state_mapping names, without the run's state.",
    "pretrained_state_mapping": "Module of the model -> module of the file, for resume_pretrained.",
    "zoo_config_override": "Take the model's configuration from the zoo's entry, too.",
    "save_git_details": "Keep the state of the git repository in the checkpoint.",
    "max_to_keep": "How many checkpoints with a number are kept; -1 keeps all.",
    "trust_pickle": "Files whose pickled code may run when they are loaded; null for none.",
    "reset": "What of a loaded checkpoint begins anew.",
    "reset.all": "All but the model's weights begins anew.",
    "reset.optimizer": "The optimizer's state begins anew.",
    "reset.counts": "Counts of updates and epochs begin anew.",
    "reset.fp16_scaler": "The scale of fp16's losses begins anew.",
}

_DISTRIBUTED = {
    "init_method": "Where processes meet, such as tcp://HOST:PORT; null finds it out.",
    "rank": "The rank of this process, or of this host's first.",
    "port": "The port where processes meet, under SLURM.",
    "backend": "What gradients are exchanged by; without a GPU gloo.",
    "world_size": "Processes of all hosts; as given by MMF, one for each GPU.",
    "no_spawn": "Start no processes, also with several GPUs.",
}

_ENV = {
    "save_dir": "The folder of the run: checkpoints, config.yaml, logs, reports.",
    "overwrite": "Let a training replace the run in save_dir.",
    "user_dir": "A package of models, datasets and so on to import: a folder or dotted name.",
    "data_dir": "The folder that MMF downloads datasets and models to.",
    "cache_dir": "MMF's cache.",
    "log_dir": "The folder of log files; empty for logs in save_dir.",
    "report_dir": "The folder of prediction files; empty for reports in save_dir.",
    "tensorboard_logdir": "The folder of TensorBoard's files; empty for the logs'.",
    "wandb_logdir": "The folder of Weights & Biases; empty for the logs'.",
    "dataset_zoo": "The yaml file that lists the datasets that MMF can download.",
    "model_zoo": "The yaml file that lists the models that MMF can download.",
}

_OPTIMIZER = {
    "type": "An optimizer of torch.optim or MMF's registry.",
    "params": "Arguments of the optimizer.",
    "allow_unused_parameters": "Allow parameters of the model that are in no group; of MMF main.",
    "enable_state_sharding": "Share the optimizer's state among processes; of MMF main.",
    "params.lr": "The learning rate.",
    "params.betas": "Decay of the running means of gradients and of their squares.",
    "params.eps": "Added to the denominator.",
    "params.weight_decay": "Weight decay.",
    "params.correct_bias": "Correct the running means for their start at zero.",
    "params.decay": "When weights decay: after the step or before it.",
    "params.momentum": "Momentum.",
    "params.dampening": "Dampening of the momentum.",
    "params.nesterov": "Nesterov's momentum.",
    "params.amsgrad": "Use the largest of all running means of squares.",
    "params.maximize": "Maximize instead of minimize.",
    "params.decoupled_weight_decay": "Decay weights beside the gradient, as AdamW does.",
    "params.lr_decay": "Decay of the learning rate.",
    "params.initial_accumulator_value": "What the sums of squares begin with.",
    "params.foreach": "Update all tensors in one call; null where torch finds it faster.",
    "params.fused": "Update by one kernel; null for torch's choice.",
    "params.capturable": "Allow the step in a CUDA graph.",
    "params.differentiable": "Keep the graph through the step.",
}

_SCHEDULER = {
    "type": "A scheduler of MMF's registry, or clipvil_recipe.",
    "params": "Arguments of the scheduler.",
    "params.num_warmup_steps": "Updates until the full rate.",
    "params.num_training_steps": "Updates until the rate is zero.",
    "params.use_warmup": _TRAINING["use_warmup"],
    "params.lr_steps": _TRAINING["lr_steps"],
    "params.lr_ratio": _TRAINING["lr_ratio"],
    "params.warmup_iterations": _TRAINING["warmup_iterations"],
    "params.warmup_factor": _TRAINING["warmup_factor"],
}

_MULTITASKING = {
    "enabled": "With several datasets, use the section's type.",
    "type": "Which dataset a batch is of: size_proportional, round_robin and others of MMF main.",
    "params": "Arguments of the type.",
}

# Pythia's and MoVie-MCAN's, and those that many of MMF's models have.
_MODELS = {
    "model": "The model's name.",
    "losses": "A list of losses, by name or {type, params}.",
    "losses.*.type": "A loss of MMF's registry.",
    "losses.*.weight": "The factor of this loss.",
    "losses.*.params.loss_scale": "The factor of this loss.",
    "model_data_dir": "The folder that the model's files are downloaded to.",
    "zoo_requirements": "Entries of MMF's zoo to download.",
    "image_feature_dim": "The width of the image features.",
    "image_feature_encodings": "What image features pass through first, one entry a file of them.",
    "*image_feature_encodings*type": "The layers that image features pass through first.",
    "*image_feature_encodings*weights_file": "A file of weights for these layers.",
    "*image_feature_encodings*bias_file": "A file of biases for these layers.",
    "*image_feature_encodings*cond_features": "The width of the text that conditions them.",
    "*image_feature_encodings*in_dim": "The width of the image features.",
    "image_feature_embeddings": "The attention over image features.",
    "image_feature_embeddings*modal_combine.type": "How text and image meet in the attention.",
    "image_feature_embeddings*normalization": "What makes attention weights of its scores.",
    "image_feature_embeddings*transform.type": "What makes scores of what they met in.",
    "image_feature_embeddings*transform.params.out_dim": "Attention maps.",
    "image_feature_embeddings*cond_dim": "The width of the text that conditions the layers.",
    "image_feature_embeddings*cbn_num_layers": "Layers conditioned on the text.",
    "image_feature_embeddings*type": "The layers that attend to the image features.",
    "image_text_modal_combine": "How the attended image and the text meet.",
    "image_text_modal_combine.type": "How the attended image and the text meet.",
    "text_embeddings": "What makes vectors of word vectors.",
    "text_embeddings*type": "The layers that read the question's word vectors.",
    "text_embeddings*conv1_out": "Channels of the attention's first convolution.",
    "text_embeddings*conv2_out": "Attention maps.",
    "text_embeddings*kernel_size": "Of the attention's convolutions.",
    "text_embeddings*padding": "Of the attention's convolutions.",
    "text_embeddings*embedding_dim": "The width of a word vector.",
    "text_embeddings*num_attn_pool": "Heads of the pooling attention.",
    "text_embeddings*num_feat": "Vectors that the question is pooled into.",
    "classifier.type": "The layers that make scores of answers.",
    "classifier.params.img_hidden_dim": "Their width on the image's side.",
    "classifier.params.text_hidden_dim": "Their width on the text's side.",
    "*hidden_dim": "The width of hidden layers.",
    "*num_layers": "The number of layers.",
    "*num_attn": "Attention heads.",
    "*dropout": "Dropout.",
    "*params": "Arguments of what stands beside it.",
    "*model_data_dir": "The folder that the model's files are downloaded to.",
}

_DATASETS = {
    "data_dir": "The folder that the dataset's files are relative to.",
    "annotations": "Split -> its question files.",
    "annotations.*": "The question files of this split.",
    "features": "Split -> its files or folders of features.",
    "features.*": "The features of this split's images.",
    "images.*": "The folders of this split's images.",
    "use_images": "Read images.",
    "use_features": "Read features.",
    "depth_first": "Features are stored as (C, H, W).",
    "max_features": "Features of an image at most; fewer are filled up.",
    "fast_read": "Read all features into memory at the start.",
    "return_features_info": "Give what is stored beside the features, such as boxes.",
    "use_ocr": "Give the texts read in the image.",
    "use_ocr_info": "Give the places of these texts.",
    "zoo_requirements": "Entries of MMF's zoo to download; [none] for none.",
    "processors.text_processor.type": "What makes token ids of a question.",
    "processors.text_processor.params.max_length": "Words of a question at most.",
    "processors.answer_processor.type": "What makes targets of answers.",
    "processors.answer_processor.params.num_answers": "Answers of a question.",
    "processors.context_processor.type": "What makes vectors of the image's texts.",
    "processors.context_processor.params.download_initially": "Download the file at the start.",
    "processors.context_processor.params.max_length": "Texts of an image at most.",
    "processors.context_processor.params.model_file": "The file of fastText's vectors.",
    "processors.ocr_token_processor.type": "What cleans the image's texts.",
    "processors.bbox_processor.type": "What makes vectors of boxes.",
    "processors.bbox_processor.params.max_length": "Boxes of an image at most.",
    "processors.*.preprocessor.type": "What cleans the text first.",
    "processors.*.params.vocab_file": "The file of words or answers, one a line.",
    "processors.*.vocab.type": "Where word vectors come from: random, intersected and so on.",
    "processors.*.vocab.vocab_file": "The file of words, one a line.",
    "processors.*.vocab.embedding_name": "Word vectors, such as glove.6B.300d.",
    "processors.*.vocab.embedding_dim": "The width of random word vectors.",
    "processors.*params": "Arguments of what stands beside it.",
}


def _under(section: str, keys: dict[str, str]) -> dict[str, str]:
    return {f"{section}.{key}": text for key, text in keys.items()}


DESCRIPTIONS: dict[str, str] = {
    **_SECTIONS,
    **_under("training", _TRAINING),
    **_under("evaluation", _EVALUATION),
    **_under("checkpoint", _CHECKPOINT),
    **_under("distributed", _DISTRIBUTED),
    **_under("env", _ENV),
    **_under("optimizer", _OPTIMIZER),
    **_under("scheduler", _SCHEDULER),
    **_under("multitasking", _MULTITASKING),
    "multitasking": "How several datasets are mixed, of MMF main.",
    "trainer": "Lightning's trainer, of MMF main; it is not used.",
    "trainer.*": "Of Lightning's trainer, which is not used.",
    **_under("model_config.*", _MODELS),
    **_under("dataset_config.*", _DATASETS),
}


def description(key: str) -> str:
    """What a key of MMF means, such as ``model_config.pythia.losses[0].type``; '' if unknown."""
    key = re.sub(r"\[(\d+)\]", r".\1", key)
    if key in DESCRIPTIONS:
        return DESCRIPTIONS[key]
    fitting = (
        text for name, text in DESCRIPTIONS.items() if "*" in name and fnmatchcase(key, name)
    )
    return next(fitting, "")
