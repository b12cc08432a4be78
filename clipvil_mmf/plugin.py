"""What the plugin registers with MMF: importing a module here is what registers it."""

import clipvil_mmf.data.answers  # noqa: F401
import clipvil_mmf.data.easy_vqa  # noqa: F401
import clipvil_mmf.metrics  # noqa: F401
import clipvil_mmf.model  # noqa: F401
import clipvil_mmf.text.wordpiece  # noqa: F401
