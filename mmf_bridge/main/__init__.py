"""Patches for MMF from GitHub main (1.0.0rc12): one file for each theme of MMF that it patches."""
