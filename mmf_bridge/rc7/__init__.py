"""Patches for the PyPI release ``mmf==1.0.0rc7``: one file for each theme of MMF."""
