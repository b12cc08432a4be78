"""A process for each method: none finds memory that another one has left."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any

from clipvil_mmf.config import ConfigError
from clipvil_mmf.profiling.batch import BatchSizes
from clipvil_mmf.profiling.measure import Figures, Parameters
from clipvil_mmf.profiling.request import Request, perform
from clipvil_mmf.user_dir import import_user_dir


@dataclass(frozen=True)
class Row:
    """What became of a method.

    Args:
        method: its name.
        figures: what it costs; None where it could not be measured.
        reason: why not; empty where it could.
        fits: False where the method does not suit the network, or the network is misconfigured.
    """

    method: str
    figures: Figures | None = None
    reason: str = ""
    fits: bool = True


def measure_apart(method: str, request: Request) -> Row:
    """Perform a request in a fresh process.

    Args:
        method: its name in the row.
        request: what to measure.
    """
    command = [sys.executable, "-m", "clipvil_mmf.profiling.processes"]
    done = subprocess.run(
        command, input=json.dumps(asdict(request)), capture_output=True, text=True
    )
    if done.returncode < 0:
        reason = f"its process was ended by signal {-done.returncode}"
        wants = "; the memory was too small" if done.returncode == -9 else ""
        return Row(method, reason=reason + wants)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["its process ended without a message"]
        return Row(method, reason=lines[-1])
    answer = json.loads(done.stdout.splitlines()[-1])
    if "error" in answer:
        return Row(method, reason=answer["error"], fits=False)
    return Row(method, _figures(answer["figures"]))


def _figures(plain: dict[str, Any]) -> Figures:
    return Figures(**{**plain, "parameters": Parameters(**plain["parameters"])})


def main() -> None:
    """Read a request from standard input; print its figures, or why there are none, as JSON."""
    plain = json.load(sys.stdin)
    request = Request(**{**plain, "sizes": BatchSizes(**plain["sizes"])})
    for user_dir in request.user_dirs:
        import_user_dir(user_dir)
    try:
        answer = {"figures": asdict(perform(request))}
    except ConfigError as e:
        answer = {"error": str(e)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
