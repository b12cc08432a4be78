"""What can be configured: the keys of a configuration, described, and as a schema for editors.

A key of ours is a field of a dataclass, and the comment above it is its description.
"""
