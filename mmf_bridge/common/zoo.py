"""MMF's downloads end in a file or in one clear error."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from mmf_bridge.common.checksums import sha256_of
from mmf_bridge.common.replace import replace

_SECONDS = 30  # until a server that does not answer counts as out of reach


class DownloadError(RuntimeError):
    """A file that could not be fetched; the message says which file to put where."""


def patch(module: ModuleType) -> None:
    """Take files that somebody put in their place; name file, place and checksum in errors."""
    requests = module.requests

    class DownloadableFile(module.DownloadableFile):
        __doc__ = module.DownloadableFile.__doc__

        def download_file(self, download_path: str) -> None:
            """Fetch the file unless it is there, compare its checksum, unpack it in any case.

            Raises:
                DownloadError: the file cannot be fetched, or is another one.
            """
            # `_dest_folder` is main's alone.
            folder = Path(download_path, getattr(self, "_dest_folder", None) or "")
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / self._file_name
            if not file.is_file() or self._found(file) != self._hashcode:
                self._fetch(file)
            if self._compressed:
                module.decompress(str(folder), self._file_name, self._delete_original)

        def _fetch(self, file: Path) -> None:
            refused = (requests.exceptions.RequestException, AssertionError, RuntimeWarning)
            try:
                if self._from_google:
                    module.download_from_google_drive(self._url, str(file), redownload=True)
                else:
                    module.download(self._url, str(file.parent), file.name, redownload=True)
            except refused as e:
                expected = f", sha256 {self._hashcode}" if self._hashcode else ""
                there = ""
                if file.is_file():
                    there = f" (what lies there has the sha256 {self._found(file)})"
                raise DownloadError(
                    f"{self._url} cannot be downloaded ({type(e).__name__}: {e}). Fetch it "
                    f"elsewhere, put it at {file}{expected}{there}, and start again: it is "
                    "unpacked there"
                ) from e
            found = self._found(file)
            if found != self._hashcode:
                raise DownloadError(
                    f"{file}, downloaded from {self._url}, has the sha256 {found}; expected "
                    f"{self._hashcode}. Start again to download it once more; if that does not "
                    "help, the file on the server is another one than MMF's zoo lists"
                )

        def _found(self, file: Path) -> str | None:
            """The checksum of a file, or None where none is known to compare it with."""
            return None if self._hashcode is None else sha256_of(file)

    stock_check = module.check_header

    def check_header(url: str, from_google: bool = False) -> None:
        """MMF's ``check_header``; it gives up on a server that does not answer."""
        if from_google:
            stock_check(url, from_google)
            return
        # Some servers refuse a client that does not look like a browser.
        headers = {"User-Agent": "Mozilla/5.0"}
        response = requests.head(url, allow_redirects=True, timeout=_SECONDS, headers=headers)
        response.raise_for_status()

    replace(module, DownloadableFile)
    module.check_header = check_header
