"""``python -m mmf_bridge``: which MMF is there, whether it is patched, ``--patches``: by what."""

from __future__ import annotations

import argparse
import os
import sys

from mmf_bridge.finder import SWITCH, is_enabled, is_installed
from mmf_bridge.line import SUPPORTED, find_mmf, line_of, read_version
from mmf_bridge.patches import WITHOUT, left_out, patches_of


def main() -> int:
    """Print the state, and the patches of the line that is installed; 0 if MMF is patched."""
    parser = argparse.ArgumentParser(prog="python -m mmf_bridge", description=__doc__)
    parser.add_argument("--patches", action="store_true", help="list what patches which module")
    arguments = parser.parse_args()
    folder = find_mmf()
    if folder is None:
        print("MMF: not installed; pip install --no-deps mmf==1.0.0rc7")
        return 1
    version = read_version(folder)
    line = line_of(version)
    print(f"MMF: {version or 'of unknown version'} in {folder}")
    if line is None:
        print(f"bridge: leaves it as it is; supported are {SUPPORTED}")
        return 1
    if not is_enabled():
        print(f"bridge: off by {SWITCH}={os.environ[SWITCH]}")
        return 1
    if not is_installed():
        print("bridge: off, mmf_bridge.pth is in no site-packages; install its package again")
        return 1
    try:
        patches, without = patches_of(line), left_out()
    except ValueError as error:
        print(f"error: {error}")
        return 1
    modules = {patch.module for patch in patches}
    print(f"bridge: on, {len(patches)} patches of {len(modules)} modules of line {line}")
    if without:
        print(f"left out by {WITHOUT}: {', '.join(sorted(without))}")
    for patch in patches if arguments.patches else ():
        print(f"  {patch.module}: {patch.function} (since {patch.since}; {patch.test})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
