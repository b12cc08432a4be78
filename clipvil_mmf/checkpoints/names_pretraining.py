"""Pre-trained checkpoints (`Epoch11_LXRT.pth`, LXMERT's `Epoch20_LXRT.pth`): names of the heads.

The backbone has the names of a fine-tuned checkpoint without their first part;
:func:`pretraining_names` turns a table of those into one of these.
"""

from __future__ import annotations

from collections.abc import Mapping

_FINE_TUNED = "lxrt_encoder.model."

# Our prefix -> published prefix. The answer head is the one of fine-tuning under another name.
NAMES: dict[str, str] = {
    "classifier.hidden.": "answer_head.logit_fc.0.",
    "classifier.norm.": "answer_head.logit_fc.2.",
    "classifier.output.": "answer_head.logit_fc.3.",
    "pretraining.transform.": "cls.predictions.transform.dense.",
    "pretraining.LayerNorm.": "cls.predictions.transform.LayerNorm.",
    "pretraining.word_bias": "cls.predictions.bias",
    "pretraining.matching.": "cls.seq_relationship.",
}

# Published prefix -> why nothing of ours takes it. The first holds always, the second where the
# network is built without pre-training heads.
UNUSED: dict[str, str] = {
    "cls.predictions.decoder.weight": "tied to the word embeddings, which have the same values",
    "cls.": "pre-training heads: masked words and image-text matching",
    "obj_predict_head.": "pre-training head: LXMERT's object prediction",
}


def pretraining_names(fine_tuned: Mapping[str, str]) -> dict[str, str]:
    """The table of a pre-trained checkpoint, from that of a fine-tuned one of the same fusion."""
    backbone = {
        ours: theirs.removeprefix(_FINE_TUNED)
        for ours, theirs in fine_tuned.items()
        if theirs.startswith(_FINE_TUNED)
    }
    return {**backbone, **NAMES}


def pretraining_unused(fine_tuned: Mapping[str, str]) -> dict[str, str]:
    """What is not used of a pre-trained checkpoint, from what is not of a fine-tuned one."""
    backbone = {theirs.removeprefix(_FINE_TUNED): reason for theirs, reason in fine_tuned.items()}
    return {**backbone, **UNUSED}
