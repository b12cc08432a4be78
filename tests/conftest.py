"""What every test stands on: few threads, and the bridge before pytest's own import hook."""

import os
import sys

# The models here are too small for more, and several processes compete.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from mmf_bridge import finder

# pytest takes MMF's module `mmf.common.test_reporter` for a test and would import it unpatched.
finder.install()
sys.meta_path.sort(key=lambda found: not isinstance(found, finder.MmfFinder))
