# SPDX-License-Identifier: Apache-2.0
"""Which network of a LightningModule to call with a video, and how: by position or by name."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from inspect import Parameter
from typing import Any

from lightning.pytorch import LightningModule
from torch import nn
from torch.nn.modules.loss import _Loss
from torch.optim.swa_utils import AveragedModel
from torchmetrics import Metric, MetricCollection

from ..errors import BatchError
from ..models.layer_names import last_linear, module_names

__all__ = ("called_network", "classifier_of", "video_argument")

MAIN_NAMES = ("model", "net", "network", "student", "online")
COPY_NAMES = {"ema", "teacher", "target", "momentum", "average", "averaged", "swa"}
HOW = "Say how to call it with inputs=VideoInputs(forward=lambda module, video, batch: ...)."


def _is_beside(name: str, child: nn.Module) -> bool:
    """Whether a part of a LightningModule is a loss, a metric or an average of weights, and not its network."""
    words = f"{name} {type(child).__name__}".lower()
    return (
        isinstance(child, _Loss | Metric | MetricCollection | AveragedModel)
        or type(child).__name__.startswith("ModelEma")
        or any(word in words for word in ("loss", "criterion", "metric"))
    )


def _networks(module: LightningModule) -> dict[str, nn.Module]:
    """The parts of a LightningModule that may be its network: one of each set of copies."""
    found = {
        name: child
        for name, child in module.named_children()
        if not _is_beside(name, child) and any(True for _ in child.parameters())
    }
    groups: dict[Any, list[str]] = {}
    for name, child in found.items():
        groups.setdefault(tuple(weight.shape for weight in child.parameters()), []).append(name)
    return {name: found[name] for names in groups.values() for name in _originals(names, found)}


def _originals(names: list[str], found: dict[str, nn.Module]) -> list[str]:
    """Of parts alike in every shape, as a model and its teacher are: the one that is trained."""
    readings = (
        [name for name in names if any(weight.requires_grad for weight in found[name].parameters())],
        [name for name in names if name in MAIN_NAMES],
        [name for name in names if not COPY_NAMES.intersection(name.lower().split("_"))],
    )
    return next((reading for reading in readings if len(reading) == 1), names)


def _has_forward(module: LightningModule) -> bool:
    own = "forward" in vars(module) and getattr(module, "_compiler_ctx", None) is None  # torch.compile sets one as well
    return own or type(module).forward is not LightningModule.forward


def called_network(module: LightningModule) -> nn.Module:
    """The LightningModule itself where it has a ``forward`` of its own, else its only network.

    Losses, metrics, averaged weights and copies of the network (a teacher) do not count.

    Raises:
        BatchError: if there are several networks, which may have to be called one after the other.

    Example:
        >>> class Project(LightningModule):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.model, self.loss = nn.Linear(4, 2), nn.CrossEntropyLoss()
        >>> called_network(Project())
        Linear(in_features=4, out_features=2, bias=True)
    """
    if _has_forward(module):
        return module
    networks = _networks(module)
    if len(networks) == 1:
        return next(iter(networks.values()))
    found = f"its networks are {', '.join(networks)}" if networks else "no part of it has parameters"
    raise BatchError(f"{type(module).__name__} has no forward(), and {found}. {HOW}")


def classifier_of(module: LightningModule) -> str:
    """Name of the last ``nn.Linear`` of the network that is called: the classifier of nearly every network.

    A teacher, averaged weights, losses and metrics that lie beside the network are passed over.

    Raises:
        LayerNotFoundError: if there is no ``nn.Linear``.

    Example:
        >>> class Project(LightningModule):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
        ...         self.teacher = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).requires_grad_(False)
        >>> classifier_of(Project())
        'model.1'
    """
    networks = _networks(module)
    names = module_names(module)
    linears = [name for name, part in names.items() if isinstance(part, nn.Linear) and name.split(".")[0] in networks]
    return linears[-1] if linears else last_linear(module)


def video_argument(network: nn.Module, name: str | None, others: Iterable[str] = ()) -> str | None:
    """How a network takes the video: the name of an argument, or None for its first position.

    Args:
        network: what is called.
        name: of the video's entry in the batch, where it has one.
        others: arguments that would rather take another part of the batch.

    Raises:
        BatchError: if it needs more than the video, or its only argument is one of the others.

    Example:
        >>> class Model(nn.Module):
        ...     def forward(self, input_ids=None, pixel_values=None): ...
        >>> video_argument(Model(), "pixel_values"), video_argument(Model(), None)
        ('pixel_values', None)
    """
    inner = getattr(network, "_orig_mod", network)  # torch.compile's wrapper takes anything
    try:
        arguments = list(inspect.signature(inner.forward).parameters.values())
    except (TypeError, ValueError):  # no signature: a scripted module, for instance
        return None
    kinds = {one.kind for one in arguments}
    in_order = [one.name for one in arguments if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    by_name = [one.name for one in arguments if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    variadic = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    required = [one.name for one in arguments if one.default is one.empty and one.kind not in variadic]
    names_alone = not in_order and Parameter.VAR_KEYWORD in kinds and Parameter.VAR_POSITIONAL not in kinds
    target = name if name in by_name or names_alone else next(iter([*required, *in_order]), None)
    if more := [argument for argument in required if argument != target]:
        raise BatchError(f"{type(inner).__name__}.forward() needs {', '.join(more)} besides the video. {HOW}")
    if target is not None and target != name and target in others:
        raise BatchError(
            f"{type(inner).__name__} could not be called with the video alone: its argument {target} may be the video "
            f"or another part of the batch. {HOW}"
        )
    return None if target in in_order[:1] else target
