"""What a file of weights is, told by its content whatever its ending, and whether it is whole."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SAFETENSORS, TORCHSCRIPT, TORCH_ZIP, TORCH_PICKLE = "safetensors", "torchscript", "zip", "pickle"

# The number that begins the format of torch before 1.6, as all pickles write it.
_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_ZIP = b"PK\x03\x04"
_LONGEST_HEAD = 100_000_000  # bytes; safetensors takes no longer description
_CHUNK = 1 << 20
# What torch's safe reader knows; torch.save writes 2 unless it is told otherwise.
_PROTOCOLS = (2, 3)


def format_of(path: str | os.PathLike[str]) -> str:
    """Tell the format of a file of weights: ``TORCH_ZIP`` is that of ``torch.save`` since 1.6,
    ``TORCH_PICKLE`` that of torch before, or nothing that is known.

    Raises:
        OSError: it cannot be opened.
        zipfile.BadZipFile: a zip whose directory is damaged.
    """
    with open(path, "rb") as file:
        start = file.read(9)
    if start.startswith(_ZIP):
        with zipfile.ZipFile(path) as archive:
            is_script = any(name.endswith("/constants.pkl") for name in archive.namelist())
        return TORCHSCRIPT if is_script else TORCH_ZIP
    if start[8:] == b"{" and int.from_bytes(start[:8], "little") <= _LONGEST_HEAD:
        return SAFETENSORS
    return TORCH_PICKLE


@contextmanager
def opened_zip(path: str | os.PathLike[str]) -> Iterator[zipfile.ZipFile]:
    """Open a zip; raise ``BadZipFile`` if its directory is damaged or its records overlap."""
    with zipfile.ZipFile(path) as archive:
        if sum(record.compress_size for record in archive.infolist()) > os.path.getsize(path):
            raise zipfile.BadZipFile("its records overlap")
        yield archive


def check_zip(path: str | os.PathLike[str]) -> bool:
    """Compare the records of a zip with their checksums, where it has them; torch does not.

    Returns:
        whether no record is compressed, so that the file may be mapped.

    Raises:
        zipfile.BadZipFile: a record is damaged, or records overlap.
    """
    with opened_zip(path) as archive:
        records = archive.infolist()
        for record in records:
            if record.CRC:  # torch.serialization.set_crc32_options(False) leaves 0
                _check_record(archive, record)
    return all(record.compress_type == zipfile.ZIP_STORED for record in records)


def _check_record(archive: zipfile.ZipFile, record: zipfile.ZipInfo) -> None:
    try:
        with archive.open(record) as content:
            while content.read(_CHUNK):
                continue
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise zipfile.BadZipFile(f"the checksum of its {record.filename} does not fit") from error


def foreign_protocol(path: str | os.PathLike[str]) -> int | None:
    """The ``pickle_protocol`` of a torch checkpoint if torch's safe reader does not know it."""
    with open(path, "rb") as file:
        start = file.read(32)
    if start.startswith(_ZIP):
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if Path(name).name == "data.pkl"]
            # Nothing can be read of a record whose checksum was not written.
            if not names or not archive.getinfo(names[0]).CRC:
                return None
            with archive.open(names[0]) as file:
                start = file.read(2)
    elif _MAGIC not in start:
        return None
    # A pickle says its protocol in the byte after this one.
    is_foreign = start[:1] == b"\x80" and start[1] not in _PROTOCOLS
    return start[1] if is_foreign else None
