"""Names of the pre-training heads (`Epoch11_LXRT.pth`, LXMERT's `Epoch20_LXRT.pth`).

The rest of a pre-trained checkpoint has the names of a fine-tuned one in the layout `pretrained`.
"""

from __future__ import annotations

# Our prefix -> published prefix; `pretraining.PretrainingNetwork` alone has them.
NAMES: dict[str, str] = {
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
