"""What all processes of one server tell each other: the latest records, in one order, in memory that they share."""

import fcntl
import mmap
import os
import struct

_HEAD = struct.Struct("Q")
"""At the beginning: how many records there have ever been."""


class Ring:
    """Keeps the latest `size` records of `width` bytes. To be made before the processes are forked.

    In each process one thread at a time may use it. A process that is killed leaves nothing half written, nor a lock.
    """

    def __init__(self, size: int, width: int):
        self._size = size
        self._width = width
        # A lock of the kind that belongs to a process: the forked ones share the open file.
        self._file = os.fdopen(os.memfd_create("ring"), "r+b")
        self._file.truncate(_HEAD.size + size * width)
        self._memory = mmap.mmap(self._file.fileno(), 0)
        self._seen = 0

    def append(self, record: bytes) -> None:
        """Tell the record to all, to the caller's process too."""
        fcntl.lockf(self._file, fcntl.LOCK_EX)
        try:
            head = self._head()
            self._memory[self._place(head)] = record
            _HEAD.pack_into(self._memory, 0, head + 1)
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)

    def news(self) -> list[bytes]:
        """The records that this process has not seen yet, as far as they are still kept, the oldest first."""
        if self._head() == self._seen:
            return []
        fcntl.lockf(self._file, fcntl.LOCK_SH)
        try:
            head = self._head()
            first = max(self._seen, head - self._size)
            records = [self._memory[self._place(number)] for number in range(first, head)]
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN)
        self._seen = head
        return records

    def _head(self) -> int:
        return _HEAD.unpack_from(self._memory, 0)[0]

    def _place(self, number: int) -> slice:
        start = _HEAD.size + number % self._size * self._width
        return slice(start, start + self._width)
