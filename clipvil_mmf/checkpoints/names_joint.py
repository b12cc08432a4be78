"""Names of CLIP-ViL with the joint fusion, as fine-tuned (``BEST.pth``)."""

from __future__ import annotations

BERT = "lxrt_encoder.model.bert."
CLIP = f"{BERT}encoder.visual_model."
_LAYER = f"{BERT}encoder.layer.{{}}."

NAMES: dict[str, str] = {
    "image_encoder.tower.": f"{CLIP}visual.",
    "visual_embedding.positions.rows.": f"{BERT}encoder.visual_pos.x_position_embedding.",
    "visual_embedding.positions.columns.": f"{BERT}encoder.visual_pos.y_position_embedding.",
    "visual_embedding.projection.": f"{BERT}encoder.visn_fc.visn_fc.",
    "visual_embedding.norm.": f"{BERT}encoder.visn_fc.visn_layer_norm.",
    "fusion.embeddings.word.": f"{BERT}embeddings.word_embeddings.",
    "fusion.embeddings.position.": f"{BERT}embeddings.position_embeddings.",
    "fusion.embeddings.segment.": f"{BERT}embeddings.token_type_embeddings.",
    "fusion.embeddings.LayerNorm.": f"{BERT}embeddings.LayerNorm.",
    "fusion.layers.{}.attention.query.": f"{_LAYER}attention.self.query.",
    "fusion.layers.{}.attention.key.": f"{_LAYER}attention.self.key.",
    "fusion.layers.{}.attention.value.": f"{_LAYER}attention.self.value.",
    "fusion.layers.{}.attention.output.": f"{_LAYER}attention.output.dense.",
    "fusion.layers.{}.attention.LayerNorm.": f"{_LAYER}attention.output.LayerNorm.",
    "fusion.layers.{}.feed_forward.intermediate.": f"{_LAYER}intermediate.dense.",
    "fusion.layers.{}.feed_forward.output.": f"{_LAYER}output.dense.",
    "fusion.layers.{}.feed_forward.LayerNorm.": f"{_LAYER}output.LayerNorm.",
    "fusion.pooler.": f"{BERT}pooler.dense.",
    "classifier.hidden.": "logit_fc.0.",
    "classifier.norm.": "logit_fc.2.",
    "classifier.output.": "logit_fc.3.",
}

UNUSED: dict[str, str] = {
    f"{BERT}encoder.visn_fc.box_fc.": "boxes: CLIP-ViL has none",
    f"{BERT}encoder.visn_fc.box_layer_norm.": "boxes: CLIP-ViL has none",
    f"{BERT}embeddings.position_ids": "the numbers 0, 1, 2, ..., which need no storing",
    f"{CLIP}visual.attnpool.": "attention pool: the grid is taken before it",
    f"{CLIP}visual.proj": "projection to CLIP's joint space: the grid is taken before it",
    f"{CLIP}transformer.": "CLIP's text tower",
    f"{CLIP}text.": "CLIP's text tower",
    f"{CLIP}token_embedding.": "CLIP's text tower",
    f"{CLIP}positional_embedding": "CLIP's text tower",
    f"{CLIP}ln_final.": "CLIP's text tower",
    f"{CLIP}text_projection": "CLIP's text tower",
    f"{CLIP}logit_scale": "CLIP's contrastive loss",
    f"{CLIP}logit_bias": "CLIP's contrastive loss",
    f"{CLIP}input_resolution": "CLIP's own settings",
    f"{CLIP}context_length": "CLIP's own settings",
    f"{CLIP}vocab_size": "CLIP's own settings",
}
