"""The access log's file: rotated by size with compressed backups, opened anew for logrotate."""

import gzip
import logging
import os
import shutil
import threading
from logging.handlers import RotatingFileHandler
from pathlib import Path

log = logging.getLogger(__name__)


class LogFile(RotatingFileHandler):
    """`backups` files beside `path`, `.1.gz` the youngest; with 0 of them it is never rotated. Raises OSError."""

    def __init__(self, path: str, max_bytes: int, backups: int):
        super().__init__(path, maxBytes=max_bytes if backups else 0, backupCount=backups, encoding="utf-8")
        self.namer = "{}.gz".format
        self._youngest = Path(self.namer(f"{self.baseFilename}.1"))
        self._cut_off = Path(f"{self.baseFilename}.rotated")
        self._compressor = threading.Thread()

    def reopen(self) -> None:
        """Go on in a file of the old name, after another program has renamed the present one."""
        try:
            stream = self._open()
        except OSError as error:
            log.warning("the access log %s cannot be opened anew: %s", self.baseFilename, error.strerror)
            return
        with self.lock:
            stream, self.stream = self.stream, stream
        if stream:
            stream.close()

    def doRollover(self) -> None:
        if self._compressor.is_alive():
            self._compressor.join()
        if self._cut_off.exists():
            # An earlier process was ended while it compressed.
            self._compress()
        super().doRollover()

    def rotate(self, source: str, dest: str) -> None:
        """In a thread, because all requests wait for the log."""
        os.replace(source, self._cut_off)
        self._compressor = threading.Thread(target=self._compress, name="access log", daemon=True)
        self._compressor.start()

    def _compress(self) -> None:
        draft = self._youngest.with_suffix(".new")
        try:
            with self._cut_off.open("rb") as source, gzip.open(draft, "wb", compresslevel=6) as target:
                shutil.copyfileobj(source, target, 1 << 20)
            shutil.copymode(self._cut_off, draft)
            draft.replace(self._youngest)
            self._cut_off.unlink()
        except OSError as error:
            log.warning("the rotated access log %s cannot be compressed: %s", self._cut_off, error.strerror)
