# SPDX-License-Identifier: Apache-2.0
"""The errors that a user can meet.

Each one says in a sentence or two what was found, what was expected, and what to do next. They also derive from the
built-in exception that fits (``ValueError``, ``FileNotFoundError`` …), so code that catches those keeps working.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = (
    "AnnotationError",
    "BatchError",
    "CheckpointError",
    "CheckpointMismatchError",
    "ConfigNotFoundError",
    "DatasetExistsError",
    "DatasetNotFoundError",
    "FramesNotWrittenError",
    "LayerNotCalledError",
    "LayerNotFoundError",
    "OptionError",
    "ReaderNotAvailableError",
    "StaticDropoutError",
    "UnknownNameError",
    "UnsafeCheckpointError",
    "VideoDecodeError",
    "did_you_mean",
)


def did_you_mean(name: str, options: Iterable[str], limit: int = 5) -> str:
    """Return a sentence that names the options closest to ``name``, or the first few where none is close.

    Example:
        >>> did_you_mean("model.layer5", ["model.layer4", "head"])
        'Close matches: model.layer4.'
        >>> did_you_mean("x", [])
        'There is none to choose from.'
    """
    names = list(options)
    if not names:
        return "There is none to choose from."
    close = difflib.get_close_matches(name, names, n=limit, cutoff=0.5)
    if close:
        return f"Close matches: {', '.join(close)}."
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"There are: {', '.join(names[:limit])}{more}."


class StaticDropoutError(Exception):
    """Base class of all errors of this package; they survive the way between processes whole."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle message and attributes: the arguments of a class's constructor are not its message."""
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(kind: type[StaticDropoutError], args: tuple[Any, ...], attributes: dict[str, Any]) -> StaticDropoutError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class UnknownNameError(StaticDropoutError, ValueError):
    """A name that a registry does not hold (a model, a style, a reader).

    Args:
        kind: what was asked for, e.g. ``"model"``.
        name: the name that was given.
        options: the names that exist.
    """

    def __init__(self, kind: str, name: str, options: Iterable[str]) -> None:
        super().__init__(f"There is no {kind} called {name!r}. {did_you_mean(name, options)}")


class OptionError(StaticDropoutError, ValueError):
    """An option out of range; the message names it, says what was found and what is allowed."""


class LayerNotFoundError(StaticDropoutError, ValueError):
    """A layer pattern that matches no module of the model.

    Args:
        pattern: the pattern as given.
        names: the names of the model's modules.
    """

    def __init__(self, pattern: str, names: Iterable[str]) -> None:
        super().__init__(
            f"No layer matches {pattern!r}. {did_you_mean(pattern, names)} "
            "List all names with staticdropout.list_layers(model, clip) or `staticdropout models layers`."
        )


class LayerNotCalledError(StaticDropoutError, RuntimeError):
    """A layer that exists but took no part in the forward pass, so that there is nothing to measure.

    Args:
        names: the layers that did not run.
    """

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__(
            f"These layers were not called during the forward pass: {', '.join(names)}. Choose layers that run "
            "(a container such as nn.ModuleList never does), or check that the model was called as in training."
        )


class BatchError(StaticDropoutError, ValueError):
    """A batch in which the video, its pixels, its labels or the model's output could not be recognised."""


class CheckpointError(StaticDropoutError, ValueError):
    """A checkpoint file that cannot be read, or that is not of a known format."""


class UnsafeCheckpointError(CheckpointError):
    """A checkpoint that asks for code to be run while it is read. Nothing of it has been executed."""


class CheckpointMismatchError(CheckpointError):
    """A readable checkpoint whose weights do not belong to the model."""


class DatasetNotFoundError(StaticDropoutError, FileNotFoundError):
    """A data set that is not where it was looked for.

    Args:
        root: the folder that was given.
        missing: the paths that were expected below it.
        hint: how to get or make the data, or which argument to change.
    """

    def __init__(self, root: str | Path, missing: Iterable[str | Path], hint: str) -> None:
        expected = ", ".join(str(path) for path in missing)
        found = "the folder does not exist" if not Path(root).exists() else "it is not complete"
        super().__init__(f"No data set at {str(root)!r}: {found}; expected {expected}. {hint}")


class DatasetExistsError(StaticDropoutError, FileExistsError):
    """A folder that should be written to holds something else."""


class FramesNotWrittenError(StaticDropoutError, OSError):
    """Styled frames that could not be written, as on a full disk; what has been finished before is whole."""


class AnnotationError(StaticDropoutError, ValueError):
    """An annotation file that is not in the official format, or a label that no class has."""


class VideoDecodeError(StaticDropoutError, OSError):
    """A video that cannot be decoded.

    Args:
        path: the file or frame folder.
        reader: the name of the reader that tried.
        reason: what went wrong, in the reader's words or ours.
        hint: the next step.
    """

    def __init__(self, path: str | Path, reader: str = "", reason: str = "", hint: str = "") -> None:
        self.path, self.reader, self.reason, self.hint = str(path), reader, reason, hint
        if not reader:
            # PyTorch rebuilds an error of a worker process from its message alone.
            super().__init__(str(path))
            return
        cause = reason.strip().rstrip(".")
        super().__init__(f"Cannot read {str(path)!r} with reader {reader!r}: {cause}. {hint}".rstrip())


class ReaderNotAvailableError(StaticDropoutError, ImportError):
    """A video reader whose library is not installed or does not load on this machine."""


class ConfigNotFoundError(StaticDropoutError, FileNotFoundError):
    """A ``--config`` that is neither a file nor the short name of a packaged config."""
