# SPDX-License-Identifier: Apache-2.0
"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ("UNFINISHED", "remove_leftovers", "write_whole")

UNFINISHED = ".unfinished"
"""Ending of hidden files and folders that have no final name yet."""


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file so that a reader, a kill or a full disk never leaves half of it in place of a good one.

    Raises:
        OSError: if it cannot be written; what was there before stays.

    Example:
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_whole(folder / "new" / "a.txt", "whole")
        >>> (folder / "new" / "a.txt").read_text()
        'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def remove_leftovers(folder: Path) -> None:
    """Remove what :func:`write_whole` was writing below a folder when the process was killed; hidden files, of no use.

    Nobody else should be writing there at the time.

    Example:
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / ".a.txt.x1.unfinished").touch()
        >>> write_whole(folder / "b.txt", "whole")
        >>> remove_leftovers(folder)
        >>> [path.name for path in folder.iterdir()]
        ['b.txt']
    """
    for path in folder.rglob(f".*{UNFINISHED}"):
        with suppress(OSError):  # one that cannot be removed does no harm
            path.unlink()
