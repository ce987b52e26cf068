# SPDX-License-Identifier: Apache-2.0
"""Which registered models weights fit, found on the meta device: no memory, no numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from ..adaptation import Adaptable, Adaptation
from ..registry import create_model, model_info, models_table
from .comparing import LAST_LAYER, Comparison, compare
from .families import family_of

__all__ = ("CLASSES", "Fit", "class_count", "fit_models", "fit_with_arguments", "pools_frames")

CLASSES = 400  # of the models that weights are tried on, whose heads are brought to it
KEPT = 64  # models of names and shapes alone


@dataclass(frozen=True)
class Fit:
    """How weights fit a registered model.

    Attributes:
        name: the model's.
        comparison: what would be loaded and what not; the model has as many classes as the file.
        notes: what the model would do to the weights first, e.g. resize positions.
    """

    name: str
    comparison: Comparison
    notes: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether everything has its place."""
        return self.comparison.problems == 0


def class_count(weights: Mapping[str, Tensor]) -> int | None:
    """Return the number of classes of weights in our naming; None without a last layer.

    Example:
        >>> class_count({"head.fc.weight": torch.ones(174, 2048)})
        174
    """
    last = weights.get(f"{LAST_LAYER}weight")
    return last.shape[0] if last is not None and last.ndim > 0 else None


def fit_models(weights: Mapping[str, Tensor], layout: str, names: Iterable[str] | None = None) -> list[Fit]:
    """Try weights on registered models.

    Args:
        weights: tensors by our names.
        layout: the file's naming.
        names: models to try; by default all of the weights' family.

    Returns:
        A fit for each model of the family, the best first. A file without a last layer may leave it fresh.

    Raises:
        UnknownNameError: a name that no model has.

    Example:
        >>> with torch.device("meta"):
        ...     weights = create_model("fastonly_r50", num_classes=48).state_dict()
        >>> [fit.name for fit in fit_models(weights, "staticdropout") if fit.fits]
        ['fastonly_r50']
    """
    family = family_of(weights)
    allow = (f"{LAST_LAYER}*",) if class_count(weights) is None else ()
    resized = _with_classes(weights, CLASSES)
    fits = []
    for name in _candidates(family) if names is None else names:
        model = _on_meta(name)
        if names is None and family_of(model.state_dict()) != family:
            continue
        fits.append(_fit(name, model, resized, layout, allow))
    return sorted(fits, key=lambda fit: (fit.comparison.problems, len(fit.notes)))


def fit_with_arguments(
    name: str, arguments: Mapping[str, Any], weights: Mapping[str, Tensor], layout: str
) -> Fit | None:
    """Try weights on a registered classifier that is built with arguments.

    Args:
        name: the model's.
        arguments: of its architecture, e.g. ``{"width": 8}``.
        weights: tensors by our names.
        layout: the file's naming.

    Returns:
        The fit; None where no such model can be built.

    Example:
        >>> with torch.device("meta"):
        ...     weights = create_model("fastonly_r50", num_classes=48, width=16).state_dict()
        >>> fit_with_arguments("fastonly_r50", {"width": 16}, weights, "staticdropout").fits
        True
    """
    try:
        if model_info(name).task != "classification":
            return None
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            model = create_model(name, CLASSES, **arguments)
    except Exception:  # arguments from a file can fail in any way
        return None
    fit = _fit(name, model, _with_classes(weights, CLASSES), layout, ())
    said = ", ".join(f"{key}: {value}" for key, value in arguments.items())
    return Fit(name, fit.comparison, (f"Built with model_args {{{said}}}, as the file says.", *fit.notes))


def _fit(name: str, model: nn.Module, weights: Mapping[str, Tensor], layout: str, allow: tuple[str, ...]) -> Fit:
    adaptation = Adaptation(dict(weights))
    if isinstance(model, Adaptable) and family_of(weights) == family_of(model.state_dict()):
        with torch.random.fork_rng(devices=[]):  # a model may add layers, which are initialised
            adaptation = model.adapt_to(dict(weights), layout)
    try:
        return Fit(name, compare(adaptation.weights, model.state_dict(), layout, allow), adaptation.notes)
    finally:
        adaptation.undo()


def pools_frames(name: str) -> bool:
    """Tell whether a registered model pools frames after ``res2``, which PyTorchVideo counts as a block.

    Example:
        >>> pools_frames("i3d_r50"), pools_frames("slowonly_r50")
        (True, False)
    """
    return isinstance(getattr(_on_meta(name), "pool2", None), nn.MaxPool3d)


def _candidates(family: str) -> list[str]:
    """Names of models worth building; a user's own that cannot be built on the meta device is left out."""
    if not family:
        return []
    task = "segmentation" if family == "segmentation" else "classification"
    names = []
    for info in models_table():
        if info.task == task:
            with suppress(Exception):  # it may fail in any way, and is none of ours
                _on_meta(info.name)
                names.append(info.name)
    return names


@lru_cache(maxsize=KEPT)
def _on_meta(name: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return create_model(name, CLASSES if model_info(name).task == "classification" else None)


def _with_classes(weights: Mapping[str, Tensor], classes: int) -> dict[str, Tensor]:
    """Give the last layer another number of classes, as an empty tensor, where it is whole."""
    count = class_count(weights)
    last = [name for name in weights if name.startswith(LAST_LAYER)]
    changed = dict(weights)
    if all(weights[name].ndim > 0 and weights[name].shape[0] == count for name in last):
        for name in last:
            changed[name] = weights[name].new_empty((classes, *weights[name].shape[1:]), device="meta")
    return changed
