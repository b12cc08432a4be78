"""Behaviour that both MMF lines share, one file a theme; only training.py imports MMF."""
