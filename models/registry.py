# SPDX-License-Identifier: Apache-2.0
"""Models by name: register a constructor, list what there is, build one.

Example:
    >>> list_models("i3d*")
    ['i3d_nln_r50', 'i3d_r50']
    >>> model = create_model("slowonly_r18", num_classes=5, width=8)
    >>> model_info("slowonly_r18").frames
    8
    >>> segmenter = create_model("matnet", backbone="resnet18", width=16)
    >>> model_info("matnet").task
    'segmentation'
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib import import_module
from typing import Any, Literal, TypeVar

from torch import nn

from ..errors import OptionError, UnknownNameError

__all__ = ("ModelInfo", "Task", "create_model", "list_models", "model_info", "models_table", "register_model")

Task = Literal["classification", "segmentation"]
Constructor = TypeVar("Constructor", bound=Callable[..., nn.Module])

# The files that register this package's models. They are imported on first use, because they import this file.
BUILTIN = (
    f"{__package__}.resnet3d_variants",
    f"{__package__}.slowfast_variants",
    f"{__package__}.x3d_variants",
    f"{__package__}.transformer_variants",
    f"{__package__}.segmentation.variants",
    f"{__package__}.segmentation.rtnet_variants",
)

_constructors: dict[str, Callable[..., nn.Module]] = {}
_infos: dict[str, ModelInfo] = {}


@dataclass(frozen=True)
class ModelInfo:
    """What is known about a registered model before it is built.

    Attributes:
        name: the name in the registry.
        description: one line.
        frames: frames of the clips that the model was made for; a segmentation network takes the flow of each as well.
        stride: distance between two of these frames in the video.
        crop: side of the training crop in pixels; of the pictures of a segmentation network, their height.
        params: number of parameters, with 400 classes where there are classes; where known.
        gmacs: billions of multiply-adds for one clip (see :func:`.count_gmacs`), or one sample of a segmentation
            network, at ``crop``; where known.
        source: the official file that defines the model.
        task: ``"classification"`` of clips, or ``"segmentation"`` of a frame's moving object from image and flow.
        top1: published accuracy of the official weights in percent, by data set.
        checkpoint: file of the official weights, and the page that describes them; empty where there are none.
    """

    name: str
    description: str
    frames: int
    stride: int
    crop: int
    params: int | None
    gmacs: float | None
    source: str
    task: Task = "classification"
    top1: Mapping[str, float] = field(default_factory=dict)
    checkpoint: str = ""


def register_model(
    *,
    frames: int,
    stride: int,
    crop: int = 224,
    params: int | None = None,
    gmacs: float | None = None,
    source: str = "",
    task: Task = "classification",
    top1: Mapping[str, float] | None = None,
    checkpoint: str = "",
) -> Callable[[Constructor], Constructor]:
    """Register the decorated constructor under its own name; the first line of its docstring is the description.

    Args:
        frames: frames of the clips that the model was made for.
        stride: distance between two of these frames in the video.
        crop: side of the training crop in pixels; for segmentation the height of the pictures.
        params: number of parameters, with 400 classes where there are classes.
        gmacs: billions of multiply-adds for one clip, or one sample of a segmentation network.
        source: where the model is defined.
        task: ``"classification"`` or ``"segmentation"``.
        top1: published accuracy in percent, by data set.
        checkpoint: file of the official weights, and the page that describes them.

    Returns:
        The decorator. The constructor of a classifier takes ``num_classes`` first, then keywords; that of a
        segmentation network only keywords.

    Raises:
        ValueError: when decorating, if another constructor has this name already.

    Example:
        Put it on a function of your own, ``def my_model(num_classes, **kwargs)``, and ``create_model("my_model", 10)``
        calls that function. A name is given once:

        >>> @register_model(frames=8, stride=8)  # doctest: +ELLIPSIS
        ... def c2d_r50(num_classes, **kwargs):
        ...     "Another C2D."
        Traceback (most recent call last):
            ...
        ValueError: A model called 'c2d_r50' is registered already, by ... Choose another name.
    """

    def decorate(constructor: Constructor) -> Constructor:
        name = constructor.__name__
        if constructor.__module__ not in BUILTIN:
            _load_builtin_models()  # so that a foreign model can never take the name of one that is loaded later
        known = _constructors.get(name)
        # The same function may come again: a notebook cell that is run twice, a module that is reloaded.
        if known is not None and (known.__module__, known.__qualname__) != (
            constructor.__module__,
            constructor.__qualname__,
        ):
            raise ValueError(
                f"A model called {name!r} is registered already, by {known.__module__}. Choose another name."
            )
        description = (inspect.getdoc(constructor) or "").partition("\n")[0]
        _constructors[name] = constructor
        accuracy = dict(top1 or {})
        _infos[name] = ModelInfo(
            name, description, frames, stride, crop, params, gmacs, source, task, accuracy, checkpoint
        )
        return constructor

    return decorate


def _load_builtin_models() -> None:
    for module in BUILTIN:
        import_module(module)


def _find(name: str) -> str:
    _load_builtin_models()
    if name not in _constructors:
        raise UnknownNameError("model", name, sorted(_constructors))
    return name


def create_model(name: str, num_classes: int | None = None, **kwargs: Any) -> nn.Module:
    """Build a registered model.

    Args:
        name: one of :func:`list_models`.
        num_classes: number of classes of a classifier; a segmentation network takes none.
        **kwargs: arguments of the architecture, e.g. ``dropout=0.5``; they win over those that the name stands for.

    Returns:
        The model, randomly initialised.

    Raises:
        UnknownNameError: no model has this name; the message has close matches.
        OptionError: ``num_classes`` is missing for a classifier, or given for a segmentation network; or the
            architecture has no such argument.

    Example:
        >>> create_model("fastonly_r50", num_classes=5).head.fc
        Linear(in_features=256, out_features=5, bias=True)
    """
    constructor = _constructors[_find(name)]
    if _infos[name].task == "segmentation":
        if num_classes is not None:
            raise OptionError(
                f"{name} segments objects and has no classes, but num_classes={num_classes} was given. Leave it "
                "out, or choose a classifier (`staticdropout models list`)."
            )
        return _built(name, constructor, **kwargs)
    if num_classes is None:
        raise OptionError(
            f"{name} classifies clips and needs num_classes, e.g. create_model({name!r}, num_classes=174)."
        )
    return _built(name, constructor, num_classes, **kwargs)


def _built(name: str, constructor: Callable[..., nn.Module], *args: Any, **kwargs: Any) -> nn.Module:
    try:
        return constructor(*args, **kwargs)
    except TypeError as error:
        found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if found is None or found[1] not in kwargs:
            raise
        raise OptionError(
            f"{name} has no argument {found[1]!r}. Its architecture is described in `staticdropout models list`, its "
            "arguments in the docstring of its class (staticdropout.models)."
        ) from error


def list_models(pattern: str = "*") -> list[str]:
    """Return the names that match a glob, sorted.

    Example:
        >>> list_models("slowonly*")
        ['slowonly_r101', 'slowonly_r18', 'slowonly_r50', 'slowonly_r50_4x16']
    """
    _load_builtin_models()
    return sorted(name for name in _constructors if fnmatchcase(name, pattern))


def model_info(name: str) -> ModelInfo:
    """Return what is known about a model.

    Raises:
        UnknownNameError: no model has this name.

    Example:
        >>> model_info("fastonly_r50").params
        616952
    """
    return _infos[_find(name)]


def models_table() -> list[ModelInfo]:
    """Return what is known about all models, sorted by name.

    Example:
        >>> [info.name for info in models_table()][0]
        'c2d_r50'
    """
    return [_infos[name] for name in list_models()]
