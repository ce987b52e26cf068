# SPDX-License-Identifier: Apache-2.0
"""How the flow in a folder was made: ``flow.json`` beside it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import AnnotationError, OptionError
from ...files import write_whole

__all__ = ("PROVENANCE", "check_provenance", "claim_folder", "read_provenance")

PROVENANCE = "flow.json"
"""Name of the file that says how the flow in its folder was made."""

# What makes the flow of two runs different. Versions of libraries are written down, but do not count.
_COUNT = ("method", "weights", "updates", "encoding", "max_flow")


def read_provenance(folder: Path) -> dict[str, Any] | None:
    """Read how the flow in a folder was made.

    Args:
        folder: a folder like ``FlowImages_gap1``.

    Returns:
        What ``flow.json`` says; None where there is no such file.

    Raises:
        AnnotationError: the file is damaged.

    Example:
        >>> read_provenance(Path("no-such-folder")) is None
        True
    """
    file = folder / PROVENANCE
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise AnnotationError(
            f"{str(file)!r} is not JSON ({error}). Delete it if you know the flow to be good."
        ) from error
    if not isinstance(content, dict) or "method" not in content:
        raise AnnotationError(f'{str(file)!r} does not name the method of the flow. Delete it, or add "method".')
    return content


def check_provenance(folder: Path, wanted: Mapping[str, Any]) -> str:
    """Say in a sentence where the flow in a folder was made otherwise than wanted.

    Args:
        folder: a folder like ``FlowImages_gap1``.
        wanted: settings under the names of ``flow.json``; only those given are compared.

    Returns:
        The sentence; empty where nothing differs or nothing is known.

    Raises:
        AnnotationError: ``flow.json`` is damaged.
    """
    found = read_provenance(folder)
    if found is None:
        return ""
    differences = [
        f"{key} {found.get(key)!r} instead of {wanted[key]!r}"
        for key in _COUNT
        if key in wanted and found.get(key) != wanted[key]
    ]
    return f"{str(folder)!r} holds flow made with {', '.join(differences)}." if differences else ""


def claim_folder(folder: Path, settings: Mapping[str, Any], num_present: int) -> None:
    """Make sure that flow of these settings may be added to a folder, and write down the settings.

    Where files are present that nothing says the origin of, there is a warning.

    Args:
        folder: a folder like ``FlowImages_gap1``; it need not exist.
        settings: what to write into ``flow.json``.
        num_present: how many files of flow are there already, here or elsewhere.

    Raises:
        OptionError: the folder holds flow of other settings.
        AnnotationError: ``flow.json`` is damaged.
        OSError: the file cannot be written.
    """
    difference = check_provenance(folder, settings)
    if difference:
        raise OptionError(
            f"{difference} Flow of two kinds is not mixed: choose another flow_dir, or ask for what is there."
        )
    if (folder / PROVENANCE).exists():
        return
    if num_present:
        warnings.warn(
            f"{num_present} flow files are there that nothing says the origin of; the missing ones are now computed "
            f"with {settings['method']!r} and written to {str(folder)!r}, so that the data set holds both. "
            "Choose another flow_dir to keep them apart.",
            stacklevel=3,
        )
    write_whole(folder / PROVENANCE, json.dumps(dict(settings), indent=1) + "\n")
