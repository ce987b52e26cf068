# SPDX-License-Identifier: Apache-2.0
r"""Names of layers, and patterns that choose them.

Layer patterns:

- ``"backbone.layer*"``: a glob over module names; ``*`` and ``?`` stay within one dotted part, ``**`` crosses dots,
  so this pattern means ``backbone.layer1`` … and not their descendants;
- ``"re:backbone\.layer[34]"``: a regular expression that must match the whole name;
- ``"!backbone.layer4"``: take these out again;
- a suffix selects from a module whose output is a dict, tuple or list: ``"stage5[0]"``, ``"stage5[slow]"``; the
  suffix ``[input]`` means the module's first input instead of its output, e.g. ``"head.fc[input]"`` for the vector
  that a classifier sees.

The prefixes that ``torch.compile`` and DDP put into names (``_orig_mod.``, ``module.``) are left out of them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from torch import nn

from ..errors import LayerNotFoundError

__all__ = ("INPUT", "Layer", "find_layers", "last_linear", "module_names")

INPUT = "input"
"""The suffix that means a module's input."""


class Layer(NamedTuple):
    """A place in a model: a module and, where needed, which part of its output (or its input) is meant.

    Attributes:
        name: the clean name, with its suffix.
        module: the module.
        selector: the suffix without brackets, or None for the whole output.
    """

    name: str
    module: nn.Module
    selector: str | None


def module_names(model: nn.Module) -> dict[str, nn.Module]:
    """Names of all modules of a model but itself, in order of registration.

    The prefixes of ``torch.compile`` and DDP are left out.

    Example:
        >>> list(module_names(nn.Sequential(nn.Linear(2, 2), nn.ReLU())))
        ['0', '1']
    """
    names: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        parts = [part for part in name.split(".") if part != "_orig_mod"]
        if parts[:1] == ["module"] and isinstance(model, nn.parallel.DistributedDataParallel):
            parts = parts[1:]
        if parts and parts != [""]:
            # A compile wrapper and the module inside it share a clean name; the inner one, met later, is the one
            # that is called.
            names[".".join(parts)] = module
    return names


def _glob_to_regex(pattern: str) -> str:
    pieces = re.split(r"(\*\*|\*|\?)", pattern)
    wildcard = {"**": ".*", "*": "[^.]*", "?": "[^.]"}
    return "".join(wildcard.get(piece, re.escape(piece)) for piece in pieces)


def find_layers(model: nn.Module, patterns: str | Sequence[str]) -> list[Layer]:
    """Find the layers that the patterns name, each once, in the order of the model.

    Args:
        model: any module.
        patterns: one pattern or several, see the top of this file.

    Returns:
        The layers, never empty.

    Raises:
        LayerNotFoundError: if a pattern matches nothing; the message has close matches.

    Example:
        >>> net = nn.Sequential(nn.Conv3d(3, 8, 3), nn.ReLU(), nn.Conv3d(8, 8, 3))
        >>> [layer.name for layer in find_layers(net, ["*", "!1"])]
        ['0', '2']
    """
    modules = module_names(model)
    order = {name: position for position, name in enumerate(modules)}
    found: dict[str, Layer] = {}
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    if not patterns:
        raise LayerNotFoundError("", modules)
    for pattern in patterns:
        body, exclude, selector = pattern.removeprefix("!"), pattern.startswith("!"), None
        if body.startswith("re:"):
            regex = body[3:]
        else:
            if match := re.fullmatch(r"(.+?)\[([^\]]+)\]", body):
                body, selector = match.groups()
            regex = _glob_to_regex(body)
        try:
            names = [name for name in modules if re.fullmatch(regex, name)]
        except re.error as error:
            raise LayerNotFoundError(f"{pattern} (not a regular expression: {error})", modules) from error
        if not names:
            raise LayerNotFoundError(pattern, modules)
        for name in names:
            full = f"{name}[{selector}]" if selector else name
            if exclude:
                for key in [key for key in found if key == full or (selector is None and key.split("[")[0] == name)]:
                    del found[key]
            else:
                found[full] = Layer(full, modules[name], selector)
    if not found:
        raise LayerNotFoundError(f"{', '.join(patterns)} (the exclusions leave nothing)", modules)
    return sorted(found.values(), key=lambda layer: order[layer.name.split("[")[0]])


def last_linear(model: nn.Module) -> str:
    """Name of the last ``nn.Linear`` of a model: its classifier, in nearly every classification network.

    Raises:
        LayerNotFoundError: if the model has no ``nn.Linear``.

    Example:
        >>> last_linear(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)))
        '2'
    """
    modules = module_names(model)
    linears = [name for name, module in modules.items() if isinstance(module, nn.Linear)]
    if not linears:
        raise LayerNotFoundError("nn.Linear (the default layer; name one with layer= or layers=)", modules)
    return linears[-1]
