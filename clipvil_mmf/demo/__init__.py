"""A page to ask a model on: ``clipvil demo``. Only ``page`` needs gradio."""
