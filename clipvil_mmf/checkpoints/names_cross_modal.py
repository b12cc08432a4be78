"""LXMERT's fine-tuned checkpoints (`BEST.pth`): our names and the published ones."""

from __future__ import annotations

_BERT = "lxrt_encoder.model.bert."
_CLIP = f"{_BERT}encoder.visual_model."


def _transformer_layer(ours: str, theirs: str) -> dict[str, str]:
    return {
        **_attention(f"{ours}attention.", f"{theirs}attention.self.", f"{theirs}attention.output."),
        **_feed_forward(f"{ours}feed_forward.", f"{theirs}intermediate.", f"{theirs}output."),
    }


def _attention(ours: str, inside: str, output: str) -> dict[str, str]:
    return {
        f"{ours}query.": f"{inside}query.",
        f"{ours}key.": f"{inside}key.",
        f"{ours}value.": f"{inside}value.",
        f"{ours}output.": f"{output}dense.",
        f"{ours}LayerNorm.": f"{output}LayerNorm.",
    }


def _feed_forward(ours: str, intermediate: str, output: str) -> dict[str, str]:
    return {
        f"{ours}intermediate.": f"{intermediate}dense.",
        f"{ours}output.": f"{output}dense.",
        f"{ours}LayerNorm.": f"{output}LayerNorm.",
    }


def _side_of_cross_layer(ours: str, theirs: str) -> dict[str, str]:
    """`theirs` is `lang` or `visn`."""
    layer = f"{_BERT}encoder.x_layers.{{}}.{theirs}_"
    attention = (f"{layer}self_att.self.", f"{layer}self_att.output.")
    return {
        **_attention(f"fusion.cross_layers.{{}}.{ours}.attention.", *attention),
        **_feed_forward(
            f"fusion.cross_layers.{{}}.{ours}.feed_forward.", f"{layer}inter.", f"{layer}output."
        ),
    }


# Our prefix -> published prefix; `{}` stands for a layer's number on both sides. A grid has no
# boxes and regions have no tower, so that of the visual part a network has some only.
NAMES: dict[str, str] = {
    "image_encoder.tower.": f"{_CLIP}visual.",
    "visual_embedding.positions.rows.": f"{_BERT}encoder.visual_pos.x_position_embedding.",
    "visual_embedding.positions.columns.": f"{_BERT}encoder.visual_pos.y_position_embedding.",
    "visual_embedding.projection.": f"{_BERT}encoder.visn_fc.visn_fc.",
    "visual_embedding.norm.": f"{_BERT}encoder.visn_fc.visn_layer_norm.",
    "visual_embedding.box_projection.": f"{_BERT}encoder.visn_fc.box_fc.",
    "visual_embedding.box_norm.": f"{_BERT}encoder.visn_fc.box_layer_norm.",
    "fusion.embeddings.word.": f"{_BERT}embeddings.word_embeddings.",
    "fusion.embeddings.position.": f"{_BERT}embeddings.position_embeddings.",
    "fusion.embeddings.segment.": f"{_BERT}embeddings.token_type_embeddings.",
    "fusion.embeddings.LayerNorm.": f"{_BERT}embeddings.LayerNorm.",
    **_transformer_layer("fusion.language_layers.{}.", f"{_BERT}encoder.layer.{{}}."),
    **_transformer_layer("fusion.visual_layers.{}.", f"{_BERT}encoder.r_layers.{{}}."),
    **_attention(
        "fusion.cross_layers.{}.cross_attention.",
        f"{_BERT}encoder.x_layers.{{}}.visual_attention.att.",
        f"{_BERT}encoder.x_layers.{{}}.visual_attention.output.",
    ),
    **_side_of_cross_layer("language", "lang"),
    **_side_of_cross_layer("visual", "visn"),
    "fusion.pooler.": f"{_BERT}pooler.dense.",
    "classifier.hidden.": "logit_fc.0.",
    "classifier.norm.": "logit_fc.2.",
    "classifier.output.": "logit_fc.3.",
}

# Published prefix -> why nothing of ours takes it; the visual part has CLIP-ViL's as well.
UNUSED: dict[str, str] = {
    f"{_BERT}encoder.visn_fc.box_fc.": "boxes: a grid has none",
    f"{_BERT}encoder.visn_fc.box_layer_norm.": "boxes: a grid has none",
}
