"""A plugin that feeds MMF the micro-batches of the recorded runs, in their order."""

import sys

if "mmf" in sys.modules:
    import clipvil_mmf.plugin  # noqa: F401
    from tests.golden.micro_batches import dataset  # noqa: F401
