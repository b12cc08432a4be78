"""Neutral building blocks of fusions, heads, image encoders and tuning methods."""
