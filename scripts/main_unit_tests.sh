#!/usr/bin/env bash
# Runs the unit tests of MMF main, from a checkout, on the bridge: scripts/main_unit_tests.sh CHECKOUT
# PYTHON is that of an environment with MMF main (docs/mmf-main.md); MMF_BRIDGE=0 tests stock MMF, which
# gets stand-ins for the three modules that it cannot be imported without. Tests that want a download
# fail without a network. Prints what failed; compare the lists of the two with `diff`.
set -euo pipefail
python=$(realpath --no-symlinks "${PYTHON:-python}")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cp -r "$1/tests" "$1/projects" "$1/mmf_cli" "$1/tools" "$1/setup.py" "$folder"
# The tests look for MMF beside them; the installed copy has its C file compiled.
cp -r "$("$python" -c 'from mmf_bridge.line import find_mmf; print(find_mmf())')" "$folder/mmf"
cat > "$folder/stand_ins.py" <<'PY'
"""Short waits between tries to download, and what stock MMF imports that went away."""
import os
import sys
import time
import types

wait = time.sleep
time.sleep = lambda seconds: wait(seconds if seconds <= 2 else 0.01)
if os.environ.get("MMF_BRIDGE") == "0":
    import pytorch_lightning.callbacks
    import torchvision.io

    sys.modules["torchtext"] = types.SimpleNamespace(vocab=None)
    sys.modules["pytorch_lightning.callbacks.base"] = pytorch_lightning.callbacks
    torchvision.io.read_video = None
PY
bridge=$(dirname "$("$python" -c 'import mmf_bridge; print(mmf_bridge.__path__[0])')")
cd "$folder"
PYTHONPATH="$folder:$bridge" HF_HUB_OFFLINE=1 "$python" -m pytest tests -q -W ignore --tb=no -rfE \
    -p no:cacheprovider -p stand_ins | sed -n -E 's/^(FAILED|ERROR) ([^ ]*).*/\1 \2/p; $p' || true
