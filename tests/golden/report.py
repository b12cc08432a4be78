"""`python -m tests.golden.report`: the largest deviation from every golden quantity."""

from __future__ import annotations

from tests.golden.compare import compare


def main() -> None:
    """Print one row a quantity."""
    print(f"{'quantity':<92} {'deviation':>10} {'of largest':>11} {'tolerance used':>15}")
    for mode in ("eval", "train"):
        for row in compare(mode):
            print(
                f"{row.quantity:<92} {row.absolute:>10.2e} {row.largest:>11.3e} {row.used:>15.1%}"
            )


if __name__ == "__main__":
    main()
