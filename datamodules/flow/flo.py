# SPDX-License-Identifier: Apache-2.0
"""Flow in pixels on disk: the ``.flo`` files of the Middlebury benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import BatchError, VideoDecodeError
from ...files import write_whole

__all__ = ("UNKNOWN_FROM", "Flow", "as_flow", "read_flo", "write_flo")

Flow = NDArray[np.float32]
"""Flow (2, H, W) in pixels: u to the right, v downwards."""

UNKNOWN_FROM = 1e9
"""Components beyond it mark pixels of unknown flow."""

_MAGIC = np.array(202021.25, "<f4").tobytes()  # reads "PIEH", which tells that floats are little-endian
_HEADER = 12  # bytes: magic number, width, height
_LONGEST = 99_999  # sides beyond it are what the reference code takes for damage
_UNKNOWN = 1e10  # written for pixels of unknown flow
_HINT = "Delete it and compute the flow again."


def as_flow(flow: ArrayLike) -> Flow:
    """Return flow as a new float32 array.

    Args:
        flow: (2, H, W), an array or a tensor on the CPU.

    Raises:
        BatchError: it has another shape, or no pixels.

    Example:
        >>> as_flow([[[1]], [[2]]]).dtype
        dtype('float32')
    """
    array = np.asarray(flow, dtype=np.float32).copy()
    if array.ndim != 3 or array.shape[0] != 2 or not array.size:
        raise BatchError(f"Expected flow of shape (2, H, W), found {array.shape}.")
    return array


def read_flo(path: str | Path) -> Flow:
    """Read flow from a ``.flo`` file.

    The file holds the float 202021.25, the width and the height as 32-bit integers, and a row-wise sequence of (u, v)
    as 32-bit floats, all little-endian.

    Args:
        path: the file; its name does not matter.

    Returns:
        Flow (2, H, W) in pixels. Pixels of unknown flow (a component beyond 1e9, or not a number) are NaN in both
        components.

    Raises:
        VideoDecodeError: there is no such file, it is not a ``.flo`` file, or it is shorter or longer than its header
            says.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_flo(Path(folder) / "a.flo", [[[1.5, 0.0]], [[-2.0, np.nan]]])
        ...     read_flo(Path(folder) / "a.flo").tolist()
        [[[1.5, nan]], [[-2.0, nan]]]
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise VideoDecodeError(path, "flo", error.strerror or str(error), "Check the path.") from error
    if len(content) < _HEADER:
        raise VideoDecodeError(path, "flo", f"it has {len(content)} bytes, the header alone has {_HEADER}", _HINT)
    if content[:4] != _MAGIC:
        found = f"it begins with {content[:4]!r} where a .flo file has {_MAGIC!r} (the float 202021.25)"
        raise VideoDecodeError(path, "flo", found, _HINT)
    width, height = np.frombuffer(content, "<i4", 2, offset=4).tolist()
    if not (1 <= width <= _LONGEST and 1 <= height <= _LONGEST):
        found = f"its header says {width}x{height} pixels; sides of 1 to {_LONGEST} were expected"
        raise VideoDecodeError(path, "flo", found, _HINT)
    expected = _HEADER + 8 * width * height
    if len(content) != expected:
        what = "breaks off" if len(content) < expected else "goes on after its end"
        found = f"it {what}: flow of {width}x{height} pixels takes {expected} bytes, the file has {len(content)}"
        raise VideoDecodeError(path, "flo", found, _HINT)
    pairs = np.frombuffer(content, "<f4", offset=_HEADER).reshape(height, width, 2)
    flow = np.array(pairs.transpose(2, 0, 1), dtype=np.float32, order="C")
    flow[:, ~(np.abs(flow) <= UNKNOWN_FROM).all(0)] = np.nan  # NaN compares as false
    return flow


def write_flo(path: str | Path, flow: ArrayLike) -> None:
    """Write flow as a ``.flo`` file, whole or not at all.

    Args:
        path: the file; its folder is made where there is none.
        flow: (2, H, W) in pixels; NaN is written as the format's mark of unknown flow, in both components.

    Raises:
        BatchError: the flow has another shape.
        OSError: the file cannot be written; what was there before stays.
    """
    array = as_flow(flow)
    known = np.where(np.isnan(array).any(0), np.float32(_UNKNOWN), array)
    size = np.array([array.shape[2], array.shape[1]], "<i4").tobytes()
    write_whole(Path(path), _MAGIC + size + known.transpose(1, 2, 0).astype("<f4").tobytes())
