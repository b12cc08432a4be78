"""Published names of BERT's parts, as they stand in CLIP-ViL's fine-tuned checkpoints.

A component with a published counterpart says in its own file which names it has there
(`published_names`: our prefix within the component -> published prefix, `{}` for a number); these
are the prefixes and layers that several of them share. Only the reading and writing of published
files looks at them (`checkpoints/published/`).
"""

from __future__ import annotations

from collections.abc import Mapping

Names = Mapping[str, str]

BERT = "lxrt_encoder.model.bert."
CLIP = f"{BERT}encoder.visual_model."

TEXT_EMBEDDING: Names = {
    "embeddings.word.": f"{BERT}embeddings.word_embeddings.",
    "embeddings.position.": f"{BERT}embeddings.position_embeddings.",
    "embeddings.segment.": f"{BERT}embeddings.token_type_embeddings.",
    "embeddings.LayerNorm.": f"{BERT}embeddings.LayerNorm.",
}
# Published prefix -> why nothing takes it.
TEXT_UNUSED: Names = {
    f"{BERT}embeddings.position_ids": "the numbers 0, 1, 2, ..., which need no storing"
}


def attention_names(ours: str, inside: str, output: str) -> dict[str, str]:
    """The names of an attention: `inside` has its projections, `output` what follows."""
    return {
        f"{ours}query.": f"{inside}query.",
        f"{ours}key.": f"{inside}key.",
        f"{ours}value.": f"{inside}value.",
        f"{ours}output.": f"{output}dense.",
        f"{ours}LayerNorm.": f"{output}LayerNorm.",
    }


def feed_forward_names(ours: str, intermediate: str, output: str) -> dict[str, str]:
    """The names of a feed-forward."""
    return {
        f"{ours}intermediate.": f"{intermediate}dense.",
        f"{ours}output.": f"{output}dense.",
        f"{ours}LayerNorm.": f"{output}LayerNorm.",
    }


def layer_names(ours: str, theirs: str) -> dict[str, str]:
    """The names of one of BERT's layers."""
    return {
        **attention_names(
            f"{ours}attention.", f"{theirs}attention.self.", f"{theirs}attention.output."
        ),
        **feed_forward_names(f"{ours}feed_forward.", f"{theirs}intermediate.", f"{theirs}output."),
    }
