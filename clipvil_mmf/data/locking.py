"""Writing files that several processes share: one writes, the others wait; all or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from clipvil_mmf.atomic import replacing
from mmf_bridge.common import locking


class StoreError(OSError):
    """Files of a store cannot be written or are damaged; the message says what to do."""


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """Hold the lock of a store, which need not exist; wait while another process holds it.

    It is that of the folder of the stores, and free as soon as its holder ends, however it ends.
    ``StoreError``: the folder cannot be made.
    """
    with ExitStack() as stack:
        with explained(store):
            stack.enter_context(locking.locked(store.parent, f".{store.name}.lock"))
        yield


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Give the name of a file beside ``path``, which takes its place if all goes well."""
    with explained(path), replacing(path) as partial:
        yield partial


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say of a failure to write what was written, and what to do: ``OSError`` -> ``StoreError``."""
    try:
        yield
    except StoreError:
        raise
    except OSError as e:
        raise StoreError(
            f"Cannot write {path}: {e.strerror or e}. Nothing half-written is left. Make room or "
            "give write permission there, or name another folder in the dataset's configuration: "
            "store_dir"
        ) from e
