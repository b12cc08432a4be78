"""What the plugin registers with MMF: importing a module here is what registers it."""

import clipvil_mmf.data.custom
import clipvil_mmf.data.easy_vqa
import clipvil_mmf.data.gqa
import clipvil_mmf.data.labels
import clipvil_mmf.data.lxmert_pretraining
import clipvil_mmf.data.nlvr2
import clipvil_mmf.data.other_vqa
import clipvil_mmf.data.snli_ve
import clipvil_mmf.data.vqa2
import clipvil_mmf.losses
import clipvil_mmf.metrics
import clipvil_mmf.mmf_encoder
import clipvil_mmf.model
import clipvil_mmf.optim.registered
import clipvil_mmf.text.wordpiece  # noqa: F401
