"""Behaviour that both MMF lines share: one file a theme, none of them imports MMF when it is imported."""
