"""The benchmark of the server: its requests are what they say; no server."""

from __future__ import annotations

import runpy

import pytest

from clipvil_mmf.deploying.asking import Limits, RefusedError, from_json
from tests.bridge.runs import ROOT

SERVE = runpy.run_path(str(ROOT / "benchmarks" / "serve.py"))


def test_bad_requests_are_bad() -> None:
    kinds = SERVE["bad_requests"]()
    assert len(set(kinds)) == 21
    for request in kinds:
        head, _, body = request.partition(b"\r\n\r\n")
        assert head.startswith(b"POST /answer HTTP/1.1\r\n")
        assert f"Content-Length: {len(body)}".encode() in head
        if b"application/json" in head:
            with pytest.raises(RefusedError):
                from_json(body, Limits())


def test_photos_differ() -> None:
    assert SERVE["photo"](0) != SERVE["photo"](1)
    assert SERVE["photo"](0) == SERVE["photo"](0)
