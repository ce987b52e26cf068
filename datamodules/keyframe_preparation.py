# SPDX-License-Identifier: Apache-2.0
"""What keeps a stylised clip calm, computed once and kept on disk: filtered frames and guide images."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_info
from PIL import Image
from torch import Tensor

from ..errors import AnnotationError, OptionError
from ..files import write_whole
from ..perturbations.dis_flow import DisFlow
from ..perturbations.guides import draw_guides
from ..perturbations.temporal_filter import filter_over_time
from .keyframe_clip import KeyframeClip
from .keyframe_files import FILTERED, INPUT, clip_folder, guide_folder, pictures_in
from .pictures import read_picture

__all__ = ("find_in_clip", "prepare_keyframes")

_ALIKE = 8.0
"""Mean difference of two copies of a frame in grey levels at most: that of a lossy copy is 1 to 4."""


def prepare_keyframes(
    train: Path,
    clip: KeyframeClip | None,
    prefilter: bool = False,
    sigmas: Sequence[float] = (),
    radius: float = 10,
) -> None:
    """Compute what is missing of filtered frames and guide images, for a clip and its keyframes.

    They go to the folders of the official tools, ``input_filtered`` and ``input_gdisko_gauss_r<radius>_s<sigma>``,
    beside ``input``: for all frames in ``NAME_gen``, for the keyframes in ``NAME_train``. Every file is written whole,
    and none that is there is changed, so that a run that was killed goes on. The clip is held in memory.

    The points of the guide images start from the whole of the first frame, as they do for a clip that the style is used
    on later; the official tool starts them from the masks of the keyframes.

    Args:
        train: the folder with the keyframes.
        clip: the frames; None: nothing is computed.
        prefilter: whether the filtered frames are wanted.
        sigmas: widths of the guides' spots in pixels.
        radius: their distance.

    Raises:
        AnnotationError: a keyframe is no frame of the clip, or not of its size; or the clip has one frame.
        OptionError: ``NAME_gen/input`` holds another clip, or nothing can be written.
    """
    target, keyframes = clip_folder(train), pictures_in(train / INPUT) or pictures_in(train / FILTERED)
    folders = {guide_folder(radius, sigma): sigma for sigma in sigmas}
    wanted = [*([FILTERED] if prefilter else []), *folders]
    if clip is None or not keyframes:
        return
    missing = [
        name
        for name in wanted
        if clip.names != tuple(pictures_in(target / name)) or keyframes.keys() - pictures_in(train / name).keys()
    ]
    if not missing:
        return
    if len(clip) < 2:
        raise AnnotationError(
            f"{' and '.join(missing)} cannot be computed: they follow the motion of the clip, and {str(clip.path)!r} "
            "has one frame. Name the whole clip with frames, or leave out prefilter and guides."
        )
    frames = clip.read()
    places = {name: find_in_clip(file, frames, clip) for name, file in keyframes.items()}
    rank_zero_info(f"Computing {', '.join(missing)} of the {len(clip)} frames of {str(clip.path)!r}.")
    forward, backward = DisFlow()(frames), DisFlow()(frames.flip(0)).flip(0)
    try:
        if clip.path != target / INPUT:
            _write(target / INPUT, dict(zip(clip.names, frames, strict=True)), of=clip)
        for name in missing:
            if name == FILTERED:
                made = filter_over_time(frames.float() / 255, forward, backward)
            else:
                height, width = frames.shape[2:]
                start = {0: torch.ones(height, width, dtype=torch.bool)}
                made = draw_guides((height, width), len(frames), start, forward, backward, radius, folders[name])
            pixels = (made.clamp(0, 1) * 255).round().byte()
            _write(target / name, dict(zip(clip.names, pixels, strict=True)), of=clip)
            _write(train / name, {key: pixels[at] for key, at in places.items()})
    except OSError as error:
        raise OptionError(
            f"What was computed of the clip cannot be written to {str(target)!r} ({error.strerror or error}). Make "
            "room, or allow writing there; what was written stays valid, and the next run goes on."
        ) from error


def find_in_clip(keyframe: Path, frames: Tensor, clip: KeyframeClip) -> int:
    """The position of a keyframe in its clip: that of the frame that looks most like it.

    Args:
        keyframe: its file.
        frames: ``(T, 3, H, W)`` uint8, all frames of the clip.
        clip: the clip.

    Raises:
        AnnotationError: the sizes differ, or no frame looks like it.
    """
    picture = torch.from_numpy(read_picture(keyframe)).permute(2, 0, 1)
    if picture.shape != frames.shape[1:]:
        raise AnnotationError(
            f"The keyframe {str(keyframe)!r} is {picture.shape[2]}x{picture.shape[1]} pixels, but the frames of "
            f"{str(clip.path)!r} are {frames.shape[3]}x{frames.shape[2]}. Take both from "
            "one clip at one size."
        )
    if keyframe.stem in clip.names:  # of several that look alike, the one of this name
        named = clip.names.index(keyframe.stem)
        if _difference(picture, frames[named]) <= _ALIKE:
            return named
    differences = [_difference(picture, frame) for frame in frames]
    nearest = min(range(len(frames)), key=differences.__getitem__)
    if differences[nearest] > _ALIKE:
        raise AnnotationError(
            f"The keyframe {str(keyframe)!r} is no frame of {str(clip.path)!r}: the nearest, {clip.names[nearest]}, "
            f"differs by {differences[nearest]:.0f} of 255 grey levels on average. Name the clip that it is "
            "from with frames."
        )
    return nearest


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one.float() - other.float()).abs().mean())


def _write(folder: Path, pictures: dict[str, Tensor], of: KeyframeClip | None = None) -> None:
    """Write those pictures ``(3, H, W)`` uint8 that are not there."""
    there = pictures_in(folder)
    if of is not None and there.keys() - pictures.keys():
        raise OptionError(
            f"{str(folder)!r} holds frames of another clip than {str(of.path)!r}. Remove the folder, or leave frames "
            "out to use what is there."
        )
    for name in (name for name in pictures if name not in there):
        file = io.BytesIO()
        Image.fromarray(pictures[name].permute(1, 2, 0).numpy()).save(file, format="png")
        write_whole(folder / f"{name}.png", file.getvalue())
