"""Grid features of a data set's images, encoded once and kept in files (``clipvil features``).

``pictures`` decodes, ``towers`` encodes, ``layouts`` writes, ``run`` deals the images over
processes; ``mmf_annotations`` writes what MMF's own data sets read beside features.
"""
