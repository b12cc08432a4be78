"""Tests of clipvil_mmf.runs."""
