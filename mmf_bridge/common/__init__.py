"""Behaviour that both MMF lines share, one file a theme; importing one does not import MMF."""
