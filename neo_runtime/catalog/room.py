"""Room for an LMDB environment: on the disk, in the address space, and in the file of its readers."""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path

DOUBLED_UP_TO = 64 << 30  # then by a quarter
_PAGE = mmap.PAGESIZE
_READER_BYTES, _LOCK_HEADER_BYTES = 64, 4_096  # a cache line each; more than the header of any build

# EIO is what LMDB makes of a write that the disk took only a part of, which is how most disks become full.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def is_full(code: int | None) -> bool:
    """Whether an error number says that a file cannot take more for now."""
    return code in _FULL


def cause(code: int) -> str:
    """Such an error number in words."""
    return os.strerror(code) if code != errno.EIO else "only a part was taken: the disk is full, or failing"


def larger(map_size: int) -> int:
    """The next size of a map."""
    size = map_size * 2 if map_size < DOUBLED_UP_TO else map_size + map_size // 4
    return -(-size // _PAGE) * _PAGE


def has_address_space(size: int) -> bool:
    """LMDB gives up its old map before it takes the new one, and dies later where that fails: so look first."""
    try:
        mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ).close()
    except (OSError, OverflowError, ValueError):
        return False
    return True


def back_lock_file(path: Path, readers: int) -> None:
    """Make the file that readers write themselves into, with all of its disk: on a full one, touching a hole kills.

    Before this process opens the environment: closing the file afterwards would end LMDB's locks on it.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    except FileExistsError:
        return
    try:
        os.posix_fallocate(descriptor, 0, _LOCK_HEADER_BYTES + readers * _READER_BYTES)
    finally:
        os.close(descriptor)
