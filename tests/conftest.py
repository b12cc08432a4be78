"""One thread a process: the models here are too small for more, and several processes compete."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
