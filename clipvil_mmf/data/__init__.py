"""From annotations and image files to batches: unique images plus the question-to-image index."""
