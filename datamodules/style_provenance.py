# SPDX-License-Identifier: Apache-2.0
"""How the styled frames in a folder were made: ``styles.json`` beside them, or a hash of the frames themselves."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import AnnotationError, DatasetExistsError, DatasetNotFoundError, OptionError
from ..files import write_whole
from ..perturbations import StyleSet
from ..perturbations.styles.style_set import style_set_hash
from .frame_patterns import FramePattern

__all__ = ("STYLE_FILE", "StyleOnDisk", "claim_styles", "describe_styles", "read_style_file", "styles_on_disk")

STYLE_FILE = "styles.json"
"""Name of the file that says how the styled frames in its folder were made."""

# What makes the frames of two runs different. Where the videos lay, and versions of the package, do not count.
_COUNT = ("pattern", "first_frame", "seed", "target_fps", "short_side", "quality")
_HASHED_VIDEOS = 5


class StyleOnDisk(NamedTuple):
    """A style that frames are there of.

    Attributes:
        number: from 1, the ``{k}`` of patterns.
        name: its name, the ``{style}`` of patterns.
    """

    number: int
    name: str


def read_style_file(root: str | Path) -> dict[str, Any] | None:
    """Read how the styled frames in a folder were made.

    Args:
        root: folder of the styled data set.

    Returns:
        What ``styles.json`` says; None where there is no such file.

    Raises:
        AnnotationError: the file is damaged.

    Example:
        >>> read_style_file("no-such-folder") is None
        True
    """
    file = Path(root, STYLE_FILE)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise AnnotationError(f"{str(file)!r} is not JSON ({error}). Delete it if you know the frames.") from error
    if not isinstance(content, dict) or not _is_complete(content):
        raise AnnotationError(
            f"{str(file)!r} does not give styles, their hash, a pattern and numbers as `staticdropout data stylize` "
            "writes them. Delete it if you know the frames."
        )
    return content


def _is_complete(content: dict[str, Any]) -> bool:
    names, styles = content.get("style_names"), content.get("styles")
    return (
        isinstance(names, list)
        and isinstance(styles, list)
        and 0 < len(names) == len(styles)
        and all(isinstance(name, str) for name in names)
        and all(isinstance(style, dict) for style in styles)
        and all(isinstance(content.get(key), str) for key in ("style_set", "style_hash", "pattern"))
        and all(_is_number(content.get(key), int) for key in ("first_frame", "seed"))
        and _is_number(content.get("target_fps"), int | float)
    )


def _is_number(value: Any, kind: Any) -> bool:
    """Whether it is a number of this kind and not negative, or not there."""
    return value is None or (isinstance(value, kind) and not isinstance(value, bool) and value >= 0)


def claim_styles(
    root: str | Path, styles: StyleSet, pattern: FramePattern, settings: Mapping[str, Any], *, write: bool = True
) -> None:
    """Make sure that frames in these styles may be added to a folder, and write down how they are made.

    Frames of other settings are not added to those that are there. More styles may be: where the styles of the folder
    are the first of those asked for, the others are added to the file.

    Args:
        root: folder of the styled data set; it need not exist.
        styles: the styles in order.
        pattern: where the frames go.
        settings: what else ``styles.json`` says: ``source``, ``target_fps``, ``short_side``, ``quality`` …
        write: write the file; False: only make sure.

    Raises:
        DatasetExistsError: the folder holds frames in other styles, of another pattern or other settings, or frames
            that nothing says the origin of; both are named.
        OptionError: two styles have one name, and the pattern tells them apart by name.
        AnnotationError: the ``styles.json`` of the folder is damaged.
        OSError: the file cannot be written.
    """
    if not pattern.numbers_styles and len(set(styles.names)) < len(styles):
        raise OptionError(
            f"The styles {', '.join(styles.names)} do not differ in their names, by which the pattern {pattern.text!r} "
            "tells them apart. Rename one, or take a pattern with {k}."
        )
    wanted = _as_json(
        {
            "style_set": styles.name,
            "style_names": list(styles.names),
            "style_hash": styles.hash,
            "seed": styles.seed,
            "styles": [_style(style) for style in styles],
            "pattern": pattern.text,
            "first_frame": pattern.first_frame,
            **settings,
        }
    )
    found = read_style_file(root)
    if found is None:
        _refuse_unknown_frames(root, styles.names, pattern)
    else:
        _refuse_differences(root, found, wanted)
        if len(found["styles"]) >= len(wanted["styles"]):
            return
    if write:
        write_whole(Path(root, STYLE_FILE), json.dumps(wanted, indent=1) + "\n")


def _style(style: Any) -> dict[str, Any]:
    parameters = getattr(style, "parameters", {})
    return {
        "name": style.name,
        "version": getattr(style, "version", None),
        "parameters": {} if callable(parameters) else parameters,
    }


def _as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as they come back from a file (tuples are lists there)."""
    content: dict[str, Any] = json.loads(json.dumps(values))
    return content


def _refuse_differences(root: str | Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    differences = [
        f"{key} {found.get(key)!r} instead of {wanted.get(key)!r}"
        for key in _COUNT
        if found.get(key) != wanted.get(key)
    ]
    both = min(len(found["styles"]), len(wanted["styles"]))
    if found["style_names"][:both] != wanted["style_names"][:both]:
        differences.insert(0, f"the styles {_listed(found)} instead of {_listed(wanted)}")
    elif found["styles"][:both] != wanted["styles"][:both]:
        pairs = zip(found["styles"], wanted["styles"], strict=False)
        name = next(wish["name"] for there, wish in pairs if there != wish)
        differences.insert(0, f"another version or other parameters of the style {name!r} than those asked for")
    if differences:
        raise DatasetExistsError(
            f"{str(root)!r} holds styled frames with {'; '.join(differences)}. Frames of two kinds are not mixed: "
            "choose another output folder, or ask for what is there (more styles can be added at the end of the list)."
        )


def _listed(content: Mapping[str, Any]) -> str:
    return ",".join(content["style_names"])


def _refuse_unknown_frames(root: str | Path, names: Sequence[str], pattern: FramePattern) -> None:
    for number, name in enumerate(names, start=1):
        there = pattern.videos(root, name, number)
        if there:
            example = str(pattern.folder(root, name, number, there[0]))
            raise DatasetExistsError(
                f"{str(root)!r} holds frames already, such as {example!r}, and no {STYLE_FILE} that says how they were "
                "made. Choose another output folder, or remove them."
            )


def styles_on_disk(root: str | Path, pattern: FramePattern) -> tuple[StyleOnDisk, ...]:
    """Find the styles that a folder holds frames of.

    Args:
        root: folder of the styled data set.
        pattern: where the frames lie.

    Returns:
        Those of ``styles.json`` where there is one. Else those whose folders fit the pattern, in the order of their
        numbers or names; where the path has only the number, a style is called ``style_<k>``.

    Raises:
        DatasetNotFoundError: there are none.
        AnnotationError: ``styles.json`` is damaged.
    """
    content = read_style_file(root)
    if content is not None:
        return tuple(StyleOnDisk(number, name) for number, name in enumerate(content["style_names"], start=1))
    parts = pattern.text.split("/")
    depth = next(position for position, part in enumerate(parts) if "{k" in part or "{style}" in part)
    if "{video}" in "/".join(parts[: depth + 1]):
        raise OptionError(
            f"The styles in {str(root)!r} cannot be found by the pattern {pattern.text!r}, in which the video comes "
            "first: name them."
        )
    expression = re.compile(
        re.sub(r"\\\{k(?::\w+)?\\\}", r"(?P<k>\\d+)", re.escape(parts[depth])).replace(r"\{style\}", r"(?P<style>.+)")
    )
    folder = Path(root, *parts[:depth])
    names = (path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else ()
    matches = [match.groupdict() for match in map(expression.fullmatch, names) if match and match[0][0] != "."]
    if not matches:
        hint = f"The pattern is {pattern.text!r}; styled frames are written by `staticdropout data stylize`."
        raise DatasetNotFoundError(root, [Path(*parts[: depth + 1])], hint)
    if "k" in matches[0]:
        numbered = sorted((int(match["k"]), match.get("style") or f"style_{match['k']}") for match in matches)
        return tuple(StyleOnDisk(number, name) for number, name in numbered)
    return tuple(StyleOnDisk(k, name) for k, name in enumerate(sorted(match["style"] for match in matches), start=1))


def describe_styles(
    root: str | Path, styles: Sequence[StyleOnDisk | tuple[int, str]], pattern: FramePattern
) -> dict[str, Any]:
    """Say which styles the frames of a data set have, in the words of reports.

    Args:
        root: folder of the styled data set.
        styles: number and name of each, in order, as :func:`styles_on_disk` gives them.
        pattern: where the frames lie.

    Returns:
        ``{"style_set": str, "style_names": list of str, "style_hash": str}``. The hash is that of ``styles.json`` where
        these are its styles in its order. For a choice of them it is that of a :class:`.StyleSet` of this choice, so
        that it stays what it is when the folder gets more styles. Without such a file (the authors' frames, those of
        another tool) it is a hash of the content: of the bytes of the first frame of the first five videos in every
        style.

    Raises:
        OptionError: ``styles.json`` does not know a style.
        DatasetNotFoundError: there are no frames in a style.
    """
    names = [name for _, name in styles]
    content = read_style_file(root)
    if content is not None:
        unknown = [name for number, name in styles if content["style_names"][number - 1 : number] != [name]]
        if unknown:
            raise OptionError(
                f"{str(root)!r} has no style {unknown[0]!r}: there are {', '.join(content['style_names'])}."
            )
        if names == content["style_names"]:
            return {key: content[key] for key in ("style_set", "style_names", "style_hash")}
        return _described(content, [number for number, _ in styles], names)
    digest = hashlib.sha256()
    for number, name in styles:
        digest.update(_first_frames(root, pattern, number, name))
    return {"style_set": "+".join(names), "style_names": names, "style_hash": digest.hexdigest()[:12]}


def _described(content: Mapping[str, Any], numbers: Sequence[int], names: list[str]) -> dict[str, Any]:
    """A choice of the styles of ``styles.json`` as a StyleSet of them says it."""
    chosen = [content["styles"][number - 1] for number in numbers]
    written = [(style.get("name"), style.get("version"), style.get("parameters", {})) for style in chosen]
    found, default = style_set_hash(written, content.get("seed") or 0), StyleSet()
    style_set = default.name if found == default.hash else "+".join(names)
    return {"style_set": style_set, "style_names": names, "style_hash": found}


def _first_frames(root: str | Path, pattern: FramePattern, number: int, name: str) -> bytes:
    """A digest of the first frame of the first few videos in a style."""
    videos = pattern.videos(root, name, number)[:_HASHED_VIDEOS]
    frames = [frame for video in videos for frame in pattern.frames(root, name, number, video)[:1]]
    if not frames:
        expected = pattern.folder(root, name, number, "VIDEO")
        raise DatasetNotFoundError(root, [expected], f"There are no frames in the style {name!r}.")
    return b"".join(hashlib.sha256(frame.read_bytes()).digest() for frame in frames)
