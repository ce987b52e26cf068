# SPDX-License-Identifier: Apache-2.0
"""Static and dynamic bias of video models: measured while they train, and pushed with StaticDropout.

The names that most people need are here; each is imported when it is first used.

Example:
    >>> import staticdropout
    >>> staticdropout.StaticDropout(rate=0.5).every_n_steps
    30
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .callbacks import BiasMonitor, DropoutFreeFinetune, ShuffledValidation, StaticDropout, VideoInputs
    from .lightning_modules import VideoClassifier
    from .metrics import StaticDynamicBias
    from .models import StaticDropoutLayer, capture, create_model, list_layers, list_models, load_checkpoint
    from .perturbations import VideoTriplets

__version__ = "0.1.0"

__all__ = (
    "BiasMonitor",
    "DropoutFreeFinetune",
    "ShuffledValidation",
    "StaticDropout",
    "StaticDropoutLayer",
    "StaticDynamicBias",
    "VideoClassifier",
    "VideoInputs",
    "VideoTriplets",
    "capture",
    "create_model",
    "list_layers",
    "list_models",
    "load_checkpoint",
)

_ROOMS = ("callbacks", "lightning_modules", "metrics", "models", "perturbations")


def __getattr__(name: str) -> Any:
    if name in __all__:
        for room in _ROOMS:
            module = import_module(f".{room}", __name__)
            if name in module.__all__:
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
