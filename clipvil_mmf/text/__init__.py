"""From question strings to token ids."""
