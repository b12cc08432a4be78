"""Leaderboard files: checking and scoring."""
