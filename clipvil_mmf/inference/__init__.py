"""Answers in Python and on the command line: images, batches, files of questions."""
