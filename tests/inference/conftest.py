"""A small model to ask."""

from tests.checkpoints.conftest import publish  # noqa: F401 (a fixture)
from tests.test_hub import imported, model  # noqa: F401 (fixtures)
