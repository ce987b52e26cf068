# SPDX-License-Identifier: Apache-2.0
"""Painted keyframes on disk, in the layout of Texler et al.: which files belong together, and whether they fit."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import AnnotationError, DatasetNotFoundError, OptionError
from .picture_folders import PICTURES
from .pictures import picture_size

__all__ = (
    "FILTERED",
    "INPUT",
    "MASK",
    "PAINTED",
    "Keyframe",
    "clip_folder",
    "find_keyframes",
    "guide_folder",
    "keyframes_digest",
    "pictures_in",
    "training_folder",
)

INPUT, FILTERED, PAINTED, MASK = "input", "input_filtered", "output", "mask"
_LAYOUT = (
    "Put each keyframe into input and its painted twin, of the same name and size, into output (docs/few_shot.md)."
)


class Keyframe(NamedTuple):
    """The files of a painted keyframe.

    Attributes:
        name: their name without suffix.
        source: the frame as the network gets it.
        guides: the guide images that it gets with it.
        painted: the frame as it was painted.
        mask: where it was painted; None: everywhere.
    """

    name: str
    source: Path
    guides: tuple[Path, ...]
    painted: Path
    mask: Path | None


def guide_folder(radius: float, sigma: float) -> str:
    """The folder of guide images, named as by the official tool.

    Example:
        >>> guide_folder(10, 15)
        'input_gdisko_gauss_r10_s15'
    """
    return f"input_gdisko_gauss_r{radius:g}_s{sigma:g}"


def pictures_in(folder: Path) -> dict[str, Path]:
    """The PNG and JPEG files of a folder by their names without suffix, in the order of the last number in them.

    Raises:
        AnnotationError: two files have the same name and different suffixes.
    """
    found: dict[str, Path] = {}
    files = folder.iterdir() if folder.is_dir() else ()
    for file in sorted(files, key=_number):
        if file.suffix.lower() not in PICTURES or file.name.startswith("."):
            continue
        if (other := found.get(file.stem)) is not None:
            raise AnnotationError(f"{str(folder)!r} holds both {other.name} and {file.name}. Remove one of them.")
        found[file.stem] = file
    return found


def _number(path: Path) -> tuple[int, str]:
    digits = re.findall(r"\d+", path.stem)
    return (int(digits[-1]) if digits else -1), path.name


def training_folder(root: str | Path) -> Path:
    """The folder with the painted keyframes: ``root`` itself, the one ``*_train`` in it, or ``<root>_train``.

    Raises:
        DatasetNotFoundError: there is none.
        OptionError: there are several.
    """
    root = Path(root)
    if (root / PAINTED).is_dir():
        return root
    below = sorted(folder.parent for folder in root.glob(f"*_train/{PAINTED}"))
    if len(below) > 1:
        names = ", ".join(folder.name for folder in below)
        raise OptionError(f"{str(root)!r} holds several sets of keyframes: {names}. Name one of these folders.")
    beside = root.with_name(f"{root.name}_train")
    if below or (beside / PAINTED).is_dir():
        return below[0] if below else beside
    raise DatasetNotFoundError(root, [root / INPUT, root / PAINTED], _LAYOUT)


def clip_folder(train: Path) -> Path:
    """The folder of the clip to be styled: ``NAME_gen`` beside ``NAME_train``.

    Example:
        >>> clip_folder(Path("data/Zuzka2_train")).as_posix()
        'data/Zuzka2_gen'
    """
    train = train.absolute() if not train.name else train
    return train.with_name(f"{train.name.removesuffix('_train')}_gen")


def find_keyframes(train: Path, filtered: bool = False, guides: Sequence[str] = ()) -> list[Keyframe]:
    """The painted keyframes of a folder, checked: every one has its twin, and all its pictures have one size.

    Args:
        train: the folder, see :func:`training_folder`.
        filtered: take the frames of ``input_filtered``, not those of ``input``.
        guides: names of folders of guide images.

    Raises:
        DatasetNotFoundError: there is no keyframe, or a folder is missing.
        AnnotationError: a picture has no twin, or not its size.
        VideoDecodeError: a picture cannot be read.
    """
    source = FILTERED if filtered else INPUT
    sources, painted = pictures_in(train / source), pictures_in(train / PAINTED)
    if not sources and (filtered or not painted):
        hint = _HINTS[FILTERED] if filtered and not sources else _LAYOUT
        raise DatasetNotFoundError(train, [train / name / "*.png" for name in (source, PAINTED)], hint)
    for name in [*sources, *painted]:
        if name not in painted:
            raise AnnotationError(
                f"The keyframe {str(sources[name])!r} has no painted twin {name}.png in {str(train / PAINTED)!r}. "
                "Paint it, or remove the keyframe."
            )
        if name not in sources:
            raise AnnotationError(
                f"The painting {str(painted[name])!r} has no frame {name}.png in {str(train / source)!r}. "
                "Put the frame that was painted there, under the same name."
            )
    masks = pictures_in(train / MASK)
    more = {folder: pictures_in(train / folder) for folder in guides}
    found = []
    for name, file in sources.items():
        if masks and name not in masks:
            raise AnnotationError(
                f"There is no mask {name}.png in {str(train / MASK)!r}, which has masks of other keyframes. Add it "
                "(white where it is painted), or remove the folder: without masks all of a picture counts."
            )
        missing = [train / folder / f"{name}.png" for folder, there in more.items() if name not in there]
        if missing:
            raise DatasetNotFoundError(train, missing, _HINTS["guides"])
        own_guides = tuple(there[name] for there in more.values())
        keyframe = Keyframe(name, file, own_guides, painted[name], masks.get(name))
        _check_sizes(keyframe)
        found.append(keyframe)
    return found


def keyframes_digest(keyframes: Sequence[Keyframe]) -> str:
    """Return 16 hexadecimal digits that stand for all that is trained on: a SHA-256 of names, uses and files.

    It does not depend on where the folder is.

    Raises:
        AnnotationError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for keyframe in sorted(keyframes):
        for use, file in enumerate((keyframe.source, keyframe.painted, keyframe.mask, *keyframe.guides)):
            try:
                content = b"" if file is None else file.read_bytes()
            except OSError as error:
                raise AnnotationError(f"{str(file)!r} cannot be read: {error.strerror or error}.") from error
            digest.update(f"{keyframe.name} {use} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


_MADE = "It is computed from all frames of the clip: name them with frames (a video or a folder), or put them into"
_HINTS = {
    FILTERED: f"{_MADE} NAME_gen/input. Without the filter: prefilter false.",
    "guides": f"{_MADE} NAME_gen/input. Without guide images: guides [].",
}


def _check_sizes(keyframe: Keyframe) -> None:
    height, width = picture_size(keyframe.source)
    for other in (keyframe.painted, *keyframe.guides, *([keyframe.mask] if keyframe.mask else [])):
        found = picture_size(other)
        if found != (height, width):
            raise AnnotationError(
                f"{str(other)!r} is {found[1]}x{found[0]} pixels, but its keyframe {str(keyframe.source)!r} is "
                f"{width}x{height}. Make both the same size, pixel on pixel."
            )
