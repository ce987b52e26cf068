# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint file is: packaging, naming, network, what else is in it, and which models it fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ...errors import CheckpointError
from .describing import describe_weights
from .families import family_of
from .fitting import Fit, class_count, fit_models, fit_with_arguments
from .layouts import detect_layout, to_own_names
from .pairs import is_half, read_weights
from .reading import CONTAINERS, detect_format, read_content, weights_in

__all__ = ("FileReport", "inspect_file")

BUFFERS = ("running_mean", "running_var", "num_batches_tracked")
SHORT = 40  # characters of a text that is shown whole
LARGEST = 4096  # number in the arguments of a model that a file names


@dataclass(frozen=True)
class FileReport:
    """What :func:`inspect_file` found.

    Attributes:
        path: the file; of a pair of files, the encoder's.
        file_format: its packaging, as :func:`detect_format` gives it.
        layout: whose naming it is in, as :func:`detect_layout` gives it.
        family: the family of networks, ``""`` where it is not known.
        architecture: what the file looks like, in words.
        tensors: number of weights and statistics.
        parameters: number of trained numbers, without the statistics of normalisations.
        classes: number of classes; None without a last layer.
        extras: what else is in the file, by name, in words.
        fits: how the file fits the registered models that were tried, the best first.
        obstacle: why the weights cannot be translated into our names; empty where they can.
    """

    path: str
    file_format: str
    layout: str
    family: str
    architecture: str
    tensors: int
    parameters: int
    classes: int | None
    extras: dict[str, str]
    fits: tuple[Fit, ...]
    obstacle: str = ""

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the registered models that the file fits."""
        return tuple(fit.name for fit in self.fits if fit.fits)


def inspect_file(path: str | Path, model: str | None = None) -> FileReport:
    """Say what a checkpoint file is, without executing anything from it.

    Args:
        path: the file, or the folder of a pair, as for :func:`load_checkpoint`.
        model: a registered model to try it on; by default all of the file's family. The models are built as their names
            say, with the file's number of classes, on the meta device: no memory is needed.

    Returns:
        The report.

    Raises:
        UnsafeCheckpointError: reading would need code from the file.
        CheckpointError: the file cannot be read or holds no weights.
        UnknownNameError: no model has this name.

    Example:
        >>> import tempfile, torch
        >>> from staticdropout.models.registry import create_model
        >>> with tempfile.NamedTemporaryFile() as file:
        ...     torch.save({"epoch": 7, "model_state": create_model("fastonly_r50", 48).state_dict()}, file.name)
        ...     report = inspect_file(file.name)
        >>> report.models, report.classes, report.extras
        (('fastonly_r50',), 48, {'epoch': '7'})
    """
    weights, file, extras, told = _read(Path(path))
    layout, obstacle = detect_layout(weights), ""
    try:
        own = to_own_names(weights, layout)
    except CheckpointError as error:
        own, obstacle = dict(weights), str(error)
    wanted = None if model is None else [model]
    fits = [] if obstacle else fit_models(own, layout, wanted)
    if told is not None and not obstacle and model in (None, told[0]):
        trained = fit_with_arguments(*told, own, layout)
        fits = [trained, *fits] if trained is not None else fits
    return FileReport(
        path=str(file),
        file_format=detect_format(file),
        layout=layout,
        family=family_of(own),
        architecture=describe_weights(own),
        tensors=len(own),
        parameters=sum(tensor.numel() for name, tensor in own.items() if not name.endswith(BUFFERS)),
        classes=class_count(own),
        extras=extras,
        fits=tuple(fits),
        obstacle=obstacle,
    )


Told = tuple[str, Mapping[str, Any]]  # name and arguments of a model


def _read(path: Path) -> tuple[dict[str, Tensor], Path, dict[str, str], Told | None]:
    """Return the weights, the file that holds them, what else is in it, and the model that it says it is of."""
    if path.is_dir():
        return (*read_weights(path), {}, None)
    content = read_content(path)
    weights = weights_in(content, path)
    if is_half(weights):
        weights, path = read_weights(path)
    extras = {}
    if isinstance(content, Mapping):
        held = any(isinstance(content.get(key), Mapping) for key in CONTAINERS)
        extras = {
            str(key): _in_words(value)
            for key, value in content.items()
            if not (held and key in CONTAINERS) and (held or not isinstance(value, Tensor | np.ndarray))
        }
    return weights, path, extras, _told(content)


def _told(content: Any) -> Told | None:
    """The model and its arguments that a checkpoint of our VideoClassifier names."""
    hyper = content.get("hyper_parameters") if isinstance(content, Mapping) else None
    if not isinstance(hyper, Mapping) or not isinstance(hyper.get("model"), str):
        return None
    arguments = hyper.get("model_args")
    if not isinstance(arguments, Mapping) or not arguments or not all(map(_is_modest, arguments.values())):
        return None
    return hyper["model"], arguments


def _is_modest(value: Any) -> bool:
    """Whether a value is plain, and no number that would make building a network take forever."""
    if isinstance(value, list | tuple):
        return len(value) <= LARGEST and all(map(_is_modest, value))
    return value is None or isinstance(value, str | bool) or (isinstance(value, int | float) and abs(value) <= LARGEST)


def _in_words(value: Any) -> str:
    if isinstance(value, str):
        short = len(value) <= SHORT and "\n" not in value
        return repr(value) if short else f"text of {len(value.splitlines())} lines"
    if isinstance(value, bool | int | float | None):
        return str(value)
    if isinstance(value, np.generic):
        return str(value.item())
    if isinstance(value, Tensor | np.ndarray):
        return f"tensor of shape {tuple(value.shape)}"
    if isinstance(value, Mapping):
        keys = ", ".join(map(str, list(value)[:3])) + (" …" if len(value) > 3 else "")
        return f"dict of {len(value)} ({keys})" if value else "empty dict"
    if isinstance(value, list | tuple | set):
        return f"{type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"
