"""What `clipvil serve` answers a second, with and without batching, and what bad requests do to it.

    python benchmarks/serve.py [MODEL] [--clients 16] [--seconds 10] [--bad 1000] [--large]

Without MODEL a network of the size of easy-VQA's with random weights is taken, or with `--large`
one of the published size. The server is another process of this machine; the clients are
connections of this one, which share its cores.

A line each for requests one by one (`--max-batch 1`) and batched, of a question about an image of
its own, or about one image that all ask about:

- requests/s: that were answered, of clients that ask without pause;
- p50, p99: milliseconds from a request to its answer;
- batch: questions of a pass of the network, the mean.

Then as many bad requests of 21 kinds (broken files, decompression bombs, wrong JSON, too large,
empty ...): how often each status came, whether a good request is answered then, and the server's
memory before and behind them.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, cycle, islice
from pathlib import Path

import numpy as np
from PIL import Image

QUESTION = "what shape is in the image?"
_UPLOAD = 2  # MiB that the server takes
_BOUNDARY = "benchmark"


@dataclass(frozen=True)
class Server:
    """A server in a process of its own."""

    port: int
    pid: int

    def memory(self) -> float:
        """Its resident memory in MiB."""
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+) kB", text)[0]) / 1024


@contextmanager
def served(model: str, *options: str) -> Iterator[Server]:
    """A server of a model that is ready."""
    command = [sys.executable, "-u", "-m", "clipvil_mmf.cli.main", "serve", model]
    limits = ["--port", "0", "--max-upload", str(_UPLOAD), *options]
    process = subprocess.Popen([*command, *limits], stdout=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().strip()
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError("the server did not start; its message is above")
        yield Server(int(address.rstrip("/").rpartition(":")[2]), process.pid)
    finally:
        process.terminate()
        process.wait()


def http(body: bytes, kind: str, path: str = "/answer", method: str = "POST") -> bytes:
    """A request, as it goes over the wire."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def form(*parts: tuple[str, str | bytes]) -> bytes:
    """A request with a form; bytes are files."""
    body = b""
    for name, value in parts:
        is_file = isinstance(value, bytes)
        file = '; filename="a.png"' if is_file else ""
        head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
        body += head.encode() + (value if is_file else value.encode()) + b"\r\n"
    return http(
        body + f"--{_BOUNDARY}--\r\n".encode(), f"multipart/form-data; boundary={_BOUNDARY}"
    )


def json_request(content: object) -> bytes:
    """A request with JSON; bytes as they are."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return http(body, "application/json")


def photo(seed: int, side: int = 64) -> bytes:
    """A JPEG that differs from those of other seeds."""
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((side, side)).save(file, "JPEG")
    return file.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of few bytes that says it has many pixels."""
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, "PNG")
    found = bytearray(file.getvalue())
    found[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    found[29:33] = zlib.crc32(found[12:29]).to_bytes(4, "big")
    return bytes(found)


def bad_requests() -> list[bytes]:
    """One of each kind."""
    good = photo(0)
    text = base64.b64encode(good).decode()
    asked = ("question", QUESTION)
    whole = form(("image", good), asked)
    return [
        form(("image", b"not an image"), asked),
        form(("image", good[:200]), asked),
        form(("image", b""), asked),
        form(("image", bomb(9_000, 9_000)), asked),
        form(("image", bomb(30_000, 30_000)), asked),
        form(("image", bomb(6_000, 6_000)), asked),  # within the limit, without its pixels
        form(("image", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), asked),
        form(("image", os.urandom(_UPLOAD * 2**20 + 1)), asked),
        form(("image", os.urandom(3 * _UPLOAD * 2**20)), asked),
        form(("image", good)),
        form(asked),
        form(("image", good), *[asked] * 33),
        form(("image", good), ("question", "a" * 501)),
        http(whole.partition(b"\r\n\r\n")[2][:-200], "multipart/form-data; boundary=other"),
        json_request(b"{"),
        json_request(b"[" * 100_000),
        json_request({"image": "http://169.254.169.254/latest", "question": QUESTION}),
        json_request({"image": text, "question": "\ud800", "top_k": 1}),
        json_request({"image": text, "question": QUESTION, "top_k": -1}),
        http(b"", "application/json"),
        http(good, "image/jpeg"),
    ]


async def exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> tuple[int, bytes]:
    """Status and body of the answer to a request."""
    writer.write(request)
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(re.findall(r"content-length: (\d+)", head)[0])
    return int(head.split()[1]), await reader.readexactly(length)


async def once(port: int, request: bytes) -> tuple[int, bytes]:
    """The same, over a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await exchange(reader, writer, request)
    finally:
        writer.close()


async def load(
    port: int, requests: Sequence[bytes], clients: int, seconds: float
) -> tuple[Counter[int], list[float]]:
    """Statuses, and the seconds of each answer, of clients that ask without pause."""
    statuses: Counter[int] = Counter()
    times: list[float] = []
    numbers = count()
    until = time.perf_counter() + seconds

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < until:
            start = time.perf_counter()
            status, _ = await exchange(reader, writer, requests[next(numbers) % len(requests)])
            times.append(time.perf_counter() - start)
            statuses[status] += 1
        writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return statuses, times


def mean_batch(port: int) -> float:
    """How many questions a pass of the network has had."""
    _, text = asyncio.run(once(port, http(b"", "text/plain", "/metrics", "GET")))
    found = dict(re.findall(r"^clipvil_batch_questions_(sum|count) (\S+)$", text.decode(), re.M))
    return float(found["sum"]) / max(1.0, float(found["count"]))


def measure(model: str, clients: int, seconds: float, side: int) -> None:
    """Print the table of speeds."""
    own = [form(("image", photo(n, side)), ("question", QUESTION)) for n in range(200)]
    print(f"{clients} clients, {seconds:g} seconds each")
    print(f"{'':32}{'requests/s':>12}{'p50':>10}{'p99':>10}{'batch':>8}")
    for name, options in (
        ("one by one", ("--max-batch", "1", "--max-wait", "0")),
        ("batched", ()),
    ):
        for what, requests in (("an image each", own), ("one image", own[:1])):
            with served(model, *options) as server:
                asyncio.run(
                    load(server.port, requests, clients, 1)
                )  # a first second is not counted
                statuses, times = asyncio.run(load(server.port, requests, clients, seconds))
                batch = mean_batch(server.port)
            if set(statuses) != {200}:
                raise RuntimeError(f"not all were answered: {dict(statuses)}")
            p50, p99 = 1e3 * np.percentile(times, [50, 99])
            rate = len(times) / seconds
            print(
                f"{f'{name}, {what}':32}{rate:12.1f}{p50:7.1f} ms{p99:7.1f} ms{batch:8.1f}",
                flush=True,
            )


async def send(port: int, requests: Sequence[bytes], clients: int) -> Counter[str]:
    """How often each status came, of requests over connections of their own."""
    left, found = iter(requests), Counter()

    async def client() -> None:
        for request in left:
            try:
                status, body = await once(port, request)
                (sentence,) = json.loads(body).values()
                found[str(status) if isinstance(sentence, str) else "no sentence"] += 1
            except (OSError, asyncio.IncompleteReadError) as error:
                found[type(error).__name__] += 1

    await asyncio.gather(*(client() for _ in range(clients)))
    return found


def attack(model: str, clients: int, total: int, side: int) -> None:
    """Print what bad requests do."""
    good = form(("image", photo(0, side)), ("question", QUESTION))
    with served(model) as server:
        asyncio.run(load(server.port, [good], clients, 2))
        kinds = bad_requests()
        asyncio.run(send(server.port, kinds, 4))  # what is imported and allocated once
        before = server.memory()
        found = asyncio.run(send(server.port, [*islice(cycle(kinds), total)], 4))
        after = server.memory()
        status, _ = asyncio.run(once(server.port, good))
    statuses = ", ".join(f"{number} times {name}" for name, number in sorted(found.items()))
    print(f"{total:,} bad requests: {statuses}; a good one then: {status}")
    print(f"memory of the server: {before:.0f} MiB before, {after:.0f} MiB behind them")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--bad", type=int, default=1000)
    parser.add_argument("--large", action="store_true")
    given = parser.parse_args()
    side = 384 if given.large else 64
    with tempfile.TemporaryDirectory() as folder:
        model = given.model
        if model is None:
            # Beside this file.
            from export_onnx import random_model

            model = str(Path(folder, "model"))
            random_model(given.large).save_pretrained(model)
        measure(model, given.clients, given.seconds, side)
        attack(model, given.clients, given.bad, side)


if __name__ == "__main__":
    main()
