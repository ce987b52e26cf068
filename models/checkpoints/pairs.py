# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of two files: MATNet's encoder and decoder are saved apart."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from ...errors import CheckpointError
from .reading import read_checkpoint

__all__ = ("find_pair", "is_half", "read_weights")

PARTS = ("encoder", "decoder")
# Names that only the one file or the other has, before `encoder.` or `decoder.` is put before them.
MARKS = {"encoder": r"conv1_[12]\.weight", "decoder": r"GC\.conv_l1\.weight"}


def find_pair(folder: str | Path) -> tuple[Path, Path]:
    """Find ``encoder_<n>.pt`` and ``decoder_<n>.pt`` of the highest n that has both.

    Raises:
        CheckpointError: there is no such pair in the folder.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("encoder_2.pt", "decoder_2.pt", "encoder_10.pt", "decoder_10.pt", "encoder_11.pt"):
        ...         Path(folder, name).touch()
        ...     [path.name for path in find_pair(folder)]
        ['encoder_10.pt', 'decoder_10.pt']
    """
    folder = Path(folder)
    found = {
        part: {
            int(match[1]): path for path in folder.iterdir() if (match := re.fullmatch(rf"{part}_(\d+)\.pt", path.name))
        }
        for part in PARTS
    }
    both = found["encoder"].keys() & found["decoder"].keys()
    if not both:
        raise CheckpointError(
            f"{str(folder)!r} is a folder without a pair of files encoder_<n>.pt and decoder_<n>.pt, as MATNet has. "
            "Give a folder with both, or the path of a checkpoint file."
        )
    epoch = max(both)
    return found["encoder"][epoch], found["decoder"][epoch]


def read_weights(path: str | Path) -> tuple[dict[str, Tensor], Path]:
    """Read a checkpoint of one file, or both files of a pair.

    Args:
        path: a file as for :func:`read_checkpoint`; a folder with a pair; or one file of a pair, beside which the other
            one is looked for: the same name with "encoder" in place of "decoder", or the reverse.

    Returns:
        The weights by name, with ``encoder.`` and ``decoder.`` before the names of a pair; and the file that was read,
        of a pair the encoder's.

    Raises:
        CheckpointError: a file is missing or cannot be read, or the other file is not the other half.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({"conv1_1.weight": torch.zeros(1)}, Path(folder, "encoder_0.pt"))
        ...     torch.save({"GC.conv_l1.weight": torch.zeros(1)}, Path(folder, "decoder_0.pt"))
        ...     list(read_weights(Path(folder, "decoder_0.pt"))[0])
        ['encoder.conv1_1.weight', 'decoder.GC.conv_l1.weight']
    """
    path = Path(path)
    if path.is_dir():
        path = find_pair(path)[0]
    weights = read_checkpoint(path)
    part = _which_half(weights)
    if part is None:
        return weights, path
    other = "decoder" if part == "encoder" else "encoder"
    sibling = path.with_name(path.name.replace(part, other))
    if sibling == path or not sibling.exists():
        wanted = f"{sibling.name} is not beside it" if sibling != path else f"its name does not contain {part!r}"
        raise CheckpointError(
            f"{str(path)!r} is one of MATNet's two files, the {part}, and {wanted}. Put {part}_<n>.pt and "
            f"{other}_<n>.pt into one folder and give that folder or one of the files."
        )
    halves = {part: weights, other: read_checkpoint(sibling)}
    if _which_half(halves[other]) != other:
        raise CheckpointError(f"{str(sibling)!r} does not hold MATNet's {other}, as its name says. Check the file.")
    joined = {f"{part}.{name}": tensor for part in PARTS for name, tensor in halves[part].items()}
    return joined, path if part == "encoder" else sibling


def is_half(names: Iterable[str]) -> bool:
    """Tell whether names are those of one file of a pair.

    Example:
        >>> is_half(["GC.conv_l1.weight"])
        True
    """
    return _which_half(names) is not None


def _which_half(names: Iterable[str]) -> str | None:
    """Tell which file of a pair has these names; None where it is none."""
    names = list(names)
    for part, mark in MARKS.items():
        if any(re.fullmatch(mark, name) for name in names):
            return part
    return None
