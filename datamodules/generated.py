# SPDX-License-Identifier: Apache-2.0
"""Folders of generated data: they appear whole or not at all, and are known by a file that holds their parameters."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import DatasetExistsError

__all__ = ("write_generated",)


def write_generated(
    root: str | Path,
    write: Callable[[Path], None],
    *,
    contents: str,
    spec_file: str,
    spec: Mapping[str, Any],
    overwrite: bool = False,
) -> Path:
    """Write a generated data set, unless it is there already.

    ``write`` works in a hidden folder beside ``root``, which takes its place when all is written. Where it raises or
    is interrupted, ``root`` stays as it was, and nothing is left beside it.

    Args:
        root: folder to write.
        write: is given an empty folder, and writes the data set into it.
        contents: what is generated, in the plural, for messages.
        spec_file: name of the JSON file in ``root`` by which the data set is recognised.
        spec: what determines the data set: its parameters and a version, as values that JSON gives back equal.
        overwrite: replace a data set of other parameters, with all that was added to its folder.

    Returns:
        The folder.

    Raises:
        DatasetExistsError: the folder holds the data set with other parameters, and ``overwrite`` is off; or it is a
            file or holds something else, which is never replaced.

    Example:
        >>> root = Path(tempfile.mkdtemp()) / "numbers"
        >>> def write(folder: Path) -> None:
        ...     _ = (folder / "numbers.txt").write_text("4 8 15")
        >>> folder = write_generated(root, write, contents="numbers", spec_file="spec.json", spec={"seed": 0})
        >>> sorted(path.name for path in folder.iterdir())
        ['numbers.txt', 'spec.json']
    """
    root = Path(root)
    if _is_there(root, contents, spec_file, spec, overwrite):
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    # beside its final place, so that the rename stays within one file system
    folder = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    try:
        write(folder)
        (folder / spec_file).write_text(json.dumps(spec, indent=1) + "\n", encoding="utf-8")
        folder.chmod(0o755)  # mkdtemp makes it private
        _put(folder, root, spec_file, spec)
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # gone already unless something went wrong
    return root


def _is_there(root: Path, contents: str, spec_file: str, spec: Mapping[str, Any], overwrite: bool) -> bool:
    """Whether the folder holds exactly this data set; DatasetExistsError where it holds what must not be replaced."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    old = _read_spec(root / spec_file)
    if old is None:
        raise DatasetExistsError(f"{str(root)!r} is not a folder of generated {contents}. Choose another folder.")
    if old == spec or overwrite:
        return old == spec
    changed = ", ".join(
        f"{key} {old.get(key)} instead of {value}" for key, value in spec.items() if old.get(key) != value
    )
    raise DatasetExistsError(
        f"{str(root)!r} holds {contents} with other parameters ({changed}). Choose another root (--data.root), "
        "or replace them with overwrite=True (--data.overwrite true)."
    )


def _put(folder: Path, root: Path, spec_file: str, spec: Mapping[str, Any]) -> None:
    """Move the finished folder to its place; where another process was faster with the same, leave that."""
    if _read_spec(root / spec_file) == spec:
        return
    if root.exists():
        shutil.rmtree(root)
    try:
        folder.rename(root)
    except OSError:
        if _read_spec(root / spec_file) != spec:
            raise


def _read_spec(file: Path) -> dict[str, Any] | None:
    """The parameters that a data set was written with; None where there is no such file or it is not one of ours."""
    try:
        spec = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return spec if isinstance(spec, dict) else None
