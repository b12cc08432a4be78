"""`python -m tests.golden.report [--compiled] [file ...]`: all golden quantities' deviations.

The largest of each, twice: of our network in float64 from what is recorded, and in float32 from
itself in float64; with `--compiled` of our network as torch.compile makes it, in one graph.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from tests.golden import files, trajectories
from tests.golden.compare import Deviation
from tests.golden.files import FILES

Rows = Callable[..., list[Deviation]]

# What is compared -> how.
REPORTS: dict[str, dict[str, Rows]] = {
    **{
        name: {
            "recorded": partial(files.rows, name),
            "float32": partial(files.float32_rows, name),
        }
        for name in FILES
    },
    "trajectories": {"recorded": trajectories.rows, "float32": trajectories.float32_rows},
}


def main(arguments: list[str]) -> int:
    """Print one row a quantity of the named files, or of all; 1 if any is beyond its tolerance."""
    names = [argument for argument in arguments if argument != "--compiled"]
    where = {"backend": "inductor"} if "--compiled" in arguments else {}
    beyond = 0
    print(
        f"{'file':<18} {'against':<8} {'quantity':<92} {'deviation':>10} {'tolerance':>10} "
        f"{'used':>7}"
    )
    for name in names or REPORTS:
        for against, rows_of in REPORTS[name].items():
            rows = rows_of(**where)
            for row in rows:
                print(
                    f"{name:<18} {against:<8} {row.quantity:<92} {row.absolute:>10.2e} "
                    f"{row.tolerance:>10.2e} {row.used:>7.1%}"
                )
            beyond += sum(not row.used <= 1.0 for row in rows)
    print(f"{beyond} quantities are beyond their tolerance")
    return min(beyond, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
