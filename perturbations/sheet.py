# SPDX-License-Identifier: Apache-2.0
"""Contact sheets: what the styles make of a clip, to be looked at before anything is measured with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from .styles import Style, StyleSet
from .styles.base import check_clip
from .styles.style_set import DEFAULT_STYLES

__all__ = ("contact_sheet", "save_sheet")

_LABEL_WIDTH, _FONT_SIZE, _GAP = 96, 16, 3
_PAPER, _INK = (250, 250, 250), (30, 30, 30)


def contact_sheet(
    clip: Tensor,
    styles: StyleSet | Sequence[str | Style] = DEFAULT_STYLES,
    num_frames: int = 6,
    frame_width: int = 176,
) -> Image.Image:
    """Draw a clip and its styled versions: a row for the source and for each style, a column for each frame.

    Args:
        clip: one floating-point clip (3, T, H, W), RGB in [0, 1].
        styles: names of styles, style objects, or a ``StyleSet``.
        num_frames: how many frames to show, evenly spread over the clip; fewer if the clip is shorter.
        frame_width: width of a frame on the sheet in pixels. Frames are styled in their full size and shrunk
            afterwards.

    Returns:
        The sheet as an RGB image, with the names of the rows at the left.

    Raises:
        BatchError: the clip is not as described.
        ValueError: ``num_frames`` is not positive.

    Example:
        >>> contact_sheet(torch.rand(3, 4, 32, 32), styles=["chalk"], num_frames=2).mode
        'RGB'
    """
    check_clip(clip[None])
    if num_frames < 1:
        raise ValueError(f"A sheet needs at least one frame, found num_frames={num_frames}.")
    chosen = StyleSet.of(styles)
    length, height, width = clip.shape[1:]
    shown = torch.linspace(0, length - 1, min(num_frames, length)).round().long().to(clip.device)
    rows = {"source": clip[:, shown]}
    for index, style in enumerate(chosen):
        label = style.name if style.name not in rows else f"{style.name} {index + 1}"
        # A style that looks at neighbouring frames needs them all; the others are spared the frames that are not shown.
        needed = clip if style.temporal else clip[:, shown]
        styled = chosen.render(index, needed[None])[0]
        rows[label] = styled[:, shown] if style.temporal else styled

    size = (max(1, round(height * frame_width / width)), frame_width)
    sheet = Image.new(
        "RGB",
        (_LABEL_WIDTH + len(shown) * (size[1] + _GAP), len(rows) * (size[0] + _GAP) + _GAP),
        _PAPER,
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_SIZE)
    for row, (label, frames) in enumerate(rows.items()):
        top = _GAP + row * (size[0] + _GAP)
        draw.text((8, top + size[0] / 2), label, fill=_INK, font=font, anchor="lm")
        for column, picture in enumerate(_pictures(frames, size)):
            sheet.paste(picture, (_LABEL_WIDTH + column * (size[1] + _GAP), top))
    return sheet


def save_sheet(
    clip: Tensor,
    output: str | Path,
    styles: StyleSet | Sequence[str | Style] = DEFAULT_STYLES,
    num_frames: int = 6,
    frame_width: int = 176,
) -> Path:
    """Draw a contact sheet and write it to a file; see ``contact_sheet``.

    Args:
        clip: one floating-point clip (3, T, H, W), RGB in [0, 1].
        output: the image file; its ending chooses the format. Missing folders are made.
        styles: names of styles, style objects, or a ``StyleSet``.
        num_frames: how many frames to show.
        frame_width: width of a frame on the sheet in pixels.

    Returns:
        The path that was written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_sheet(torch.rand(3, 2, 16, 16), f"{folder}/new/sheet.png", ["neon"]).name
        'sheet.png'
    """
    path = Path(output)
    sheet = contact_sheet(clip, styles, num_frames, frame_width)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    return path


def _pictures(frames: Tensor, size: tuple[int, int]) -> list[Image.Image]:
    """Return the frames of (3, T, H, W) in the given height and width."""
    small = F.interpolate(frames.transpose(0, 1).float(), size, mode="bilinear", antialias=True, align_corners=False)
    pixels = small.clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    return [Image.fromarray(picture) for picture in pixels]
