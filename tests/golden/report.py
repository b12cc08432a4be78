"""`python -m tests.golden.report [file ...]`: the largest deviation of every golden quantity."""

from __future__ import annotations

import sys

from tests.golden import trajectories
from tests.golden.files import FILES

REPORTS = {**FILES, "trajectories": trajectories.rows}


def main(names: list[str]) -> int:
    """Print one row a quantity of the named files, or of all; 1 if any is beyond its tolerance."""
    beyond = 0
    print(f"{'file':<13} {'quantity':<92} {'deviation':>10} {'tolerance':>10} {'used':>7}")
    for name in names or REPORTS:
        rows = REPORTS[name]()
        for row in rows:
            print(
                f"{name:<13} {row.quantity:<92} {row.absolute:>10.2e} {row.tolerance:>10.2e} "
                f"{row.used:>7.1%}"
            )
        beyond += sum(not row.used <= 1.0 for row in rows)
    print(f"{beyond} quantities are beyond their tolerance")
    return min(beyond, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
