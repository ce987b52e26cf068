# SPDX-License-Identifier: Apache-2.0
"""Flow on disk, as colour pictures or in pixels, read the one way or the other."""

from __future__ import annotations

import io
from pathlib import Path
from typing import cast, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ...errors import AnnotationError, OptionError, UnknownNameError
from ...files import write_whole
from ...perturbations.flow_colours import Encoding, colour_to_flow, flow_to_colour
from ..readers.base import as_read_error
from .flo import UNKNOWN_FROM, Flow, as_flow, read_flo

__all__ = ("Picture", "check_encoding", "read_flow", "read_flow_picture", "write_flow_picture")

Picture = NDArray[np.uint8]
"""A colour picture (H, W, 3), RGB."""

_HINT = "Delete it and compute the flow again, or get the file anew."
_COMPRESSION = 4  # of PNG, 0 to 9: at half the time of Pillow's 6 for a tenth more bytes


def check_encoding(encoding: str, max_flow: float | None) -> None:
    """Raise where there is no such encoding (UnknownNameError), or ``max_flow`` is not positive (OptionError).

    Example:
        >>> check_encoding("middlebury", None)
    """
    if encoding not in get_args(Encoding):
        raise UnknownNameError("flow encoding", encoding, get_args(Encoding))
    if max_flow is not None and not 0 < max_flow < np.inf:
        raise OptionError(f"max_flow must be a positive number of pixels or None, found {max_flow}.")


def read_flow_picture(path: str | Path, encoding: Encoding = "middlebury", max_flow: float | None = None) -> Picture:
    """Read flow as a colour picture, from a colour picture or from a ``.flo`` file.

    A colour picture is taken as it is. Only where it says in its PNG text that it has another encoding, or a fixed
    ``max_flow`` is asked for that is not its own, it is turned into pixels and drawn again, which costs the precision
    of eight bits. A picture without such text (the official ones, JPEG) is trusted to be in the encoding asked for.

    Args:
        path: a ``.flo`` file, or a PNG or JPEG picture.
        encoding: ``"middlebury"`` (no motion is white) or ``"hsv"`` (no motion is black).
        max_flow: the magnitude in pixels that gets the full colour. None: for ``.flo`` the largest of the picture,
            for colour pictures the one they were drawn with.

    Returns:
        RGB (H, W, 3), uint8.

    Raises:
        VideoDecodeError: the file is not there or damaged.
        AnnotationError: the picture would have to be drawn again, and does not say how many pixels its colours mean.
        UnknownNameError: there is no such encoding.
        OptionError: ``max_flow`` is not positive.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "00000.png"
        ...     write_flow_picture(path, [[[4.0, 0.0]], [[0.0, 0.0]]])
        ...     read_flow_picture(path).tolist(), read_flow_picture(path, max_flow=8).tolist()
        ([[[255, 0, 0], [255, 255, 255]]], [[[255, 128, 128], [255, 255, 255]]])
    """
    path = Path(path)
    check_encoding(encoding, max_flow)
    if path.suffix.lower() == ".flo":
        return _draw(read_flo(path), encoding, max_flow)
    picture, text = _read_picture(path)
    if text.get("flow_encoding", encoding) == encoding and (
        max_flow is None or text.get("flow_max") == repr(float(max_flow))
    ):
        return picture
    own_encoding, own_max = _scale(path, text, f"encoding={encoding!r} and max_flow={max_flow}")
    return _draw(_decode(picture, own_encoding, own_max), encoding, max_flow or own_max or None)


def read_flow(path: str | Path) -> Flow:
    """Read flow in pixels, from a ``.flo`` file or from a colour picture that this package has written.

    Args:
        path: a ``.flo`` file, or a PNG whose text holds ``flow_max`` and ``flow_encoding``.

    Returns:
        Flow (2, H, W) in pixels, float32. Pixels of unknown flow in a ``.flo`` file are NaN. From a colour picture the
        flow comes with the error of eight bits, and magnitudes end at the picture's ``flow_max``.

    Raises:
        VideoDecodeError: the file is not there or damaged.
        AnnotationError: the picture does not say how many pixels its colours mean.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_flow_picture(Path(folder) / "00000.png", [[[4.0]], [[0.0]]])
        ...     read_flow(Path(folder) / "00000.png").tolist()
        [[[4.0]], [[0.0]]]
    """
    path = Path(path)
    if path.suffix.lower() == ".flo":
        return read_flo(path)
    picture, text = _read_picture(path)
    return _decode(picture, *_scale(path, text, "flow in pixels"))


def write_flow_picture(
    path: str | Path,
    flow: ArrayLike,
    encoding: Encoding = "middlebury",
    max_flow: float | None = None,
    method: str = "unknown",
) -> None:
    """Draw flow as a colour picture and write it as PNG, whole or not at all.

    The PNG's text says how to read it: ``flow_max`` (the magnitude of the full colour in pixels), ``flow_encoding`` and
    ``flow_method``.

    Args:
        path: the file; it must end in ``.png``. Its folder is made where there is none.
        flow: (2, H, W) in pixels; NaN and components beyond 1e9 are drawn as no motion.
        encoding: ``"middlebury"`` (no motion is white) or ``"hsv"`` (no motion is black).
        max_flow: the magnitude in pixels that gets the full colour; None: the largest of the picture.
        method: how the flow was made.

    Raises:
        BatchError: the flow has another shape.
        UnknownNameError: there is no such encoding.
        OptionError: ``max_flow`` is not positive, or the file is not a ``.png``.
        OSError: the file cannot be written; what was there before stays.
    """
    path, flow = Path(path), as_flow(flow)
    check_encoding(encoding, max_flow)
    if path.suffix.lower() != ".png":
        raise OptionError(f"Flow pictures are written as .png, which can say how to read them; got {str(path)!r}.")
    text = PngInfo()
    text.add_text("flow_max", repr(float(_largest(flow) if max_flow is None else max_flow)))
    text.add_text("flow_encoding", encoding)
    text.add_text("flow_method", method)
    buffer = io.BytesIO()
    picture = Image.fromarray(_draw(flow, encoding, max_flow))
    picture.save(buffer, "png", pnginfo=text, compress_level=_COMPRESSION)
    write_whole(path, buffer.getvalue())


def _largest(flow: Flow) -> float:
    """The largest magnitude among the pixels of known flow; 0 where there is none."""
    known = (np.abs(flow) <= UNKNOWN_FROM).all(0)  # NaN compares as false
    return float(np.hypot(*np.where(known, flow, 0)).max())


def _draw(flow: Flow, encoding: Encoding, max_flow: float | None) -> Picture:
    colour = flow_to_colour(torch.from_numpy(flow), encoding, max_flow)
    picture: Picture = (colour * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
    return picture


def _decode(picture: Picture, encoding: Encoding, max_flow: float) -> Flow:
    colour = torch.from_numpy(picture).permute(2, 0, 1) / 255
    flow: Flow = colour_to_flow(colour, encoding, max_flow).numpy()
    return flow


def _read_picture(path: Path) -> tuple[Picture, dict[str, str]]:
    with as_read_error(path, "flow", _HINT), Image.open(path) as image:
        text = {str(key): value for key, value in image.info.items() if isinstance(value, str)}
        return np.array(image.convert("RGB")), text  # a copy, because torch wants to be allowed to write


def _scale(path: Path, text: dict[str, str], wanted: str) -> tuple[Encoding, float]:
    """What the colours of a picture mean, from its PNG text."""
    try:
        encoding, largest = text["flow_encoding"], float(text["flow_max"])
        check_encoding(encoding, largest or None)  # a picture without motion has no scale
    except (KeyError, ValueError) as error:
        found = ", ".join(f"{key} {text.get(key)!r}" for key in ("flow_max", "flow_encoding"))
        raise AnnotationError(
            f"{str(path)!r} cannot be read as {wanted}: its PNG text must say the magnitude of the full colour in "
            f"pixels and the encoding, and has {found}. Take the colours as they are (max_flow=None), or compute the "
            "flow anew with this package."
        ) from error
    return cast(Encoding, encoding), largest
