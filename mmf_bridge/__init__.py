"""Lets MMF (PyPI 1.0.0rc7 and GitHub main) run on today's Python, PyTorch and transformers.

Nothing is imported here: Python reads this package at every start of the interpreter (through the
`.pth` file that the installation brings), so it has to stay empty. See `mmf_bridge.finder`.
"""
