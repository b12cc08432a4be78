"""A small model to deploy."""

from tests.checkpoints.conftest import publish  # noqa: F401 (a fixture)
from tests.test_hub import imported, model  # noqa: F401 (fixtures)
