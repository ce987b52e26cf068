# SPDX-License-Identifier: Apache-2.0
"""Stand in for the ``training_step`` of one LightningModule, and of none of its copies."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningModule

__all__ = ("StandIn",)

NAME = "training_step"


class StandIn:
    """Is called in place of a module's own ``training_step``, which it hands to a function.

    Copies of the module, by ``deepcopy`` or pickle, have their own ``training_step`` alone. Several can stand in for
    one module: the last one is called first, and they may be removed in any order.

    Args:
        module: whose ``training_step`` it stands in for, until :meth:`remove`.
        run: ``run(step, *args, **kwargs)`` calls the module's own step with these arguments and returns its result, or
            another one.

    Example:
        >>> class Project(LightningModule):
        ...     def training_step(self, batch, batch_idx):
        ...         return batch
        >>> project = Project()
        >>> stand_in = StandIn(project, lambda step, *args: step(*args) + 1)
        >>> project.training_step(1, 0)
        2
        >>> stand_in.remove()
        >>> project.training_step(1, 0)
        1
    """

    def __init__(self, module: LightningModule, run: Callable[..., Any]) -> None:
        step: Callable[..., Any] = module.training_step
        functools.update_wrapper(self, step)  # first: it copies attributes, those of another StandIn too
        # Lightning looks at the arguments, and through one wrapper only.
        self.__wrapped__ = getattr(step, "__wrapped__", step)
        self._module: LightningModule | None = module
        self._run = run
        self._step = step
        self._own = vars(module).get(NAME)  # one of the instance: torch.compile's, or the user's
        module.training_step = self  # type: ignore[method-assign]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What ``run`` makes of the module's own step."""
        if self._module is None:  # removed, while something else that stood in later still calls it
            return self._step(*args, **kwargs)
        return self._run(self._step, *args, **kwargs)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Callable[..., Any]]]:
        """Copy as the step of the module's copy."""
        return _itself, (self._step,)

    def remove(self) -> None:
        """Give the module its own step back."""
        module, self._module = self._module, None
        if module is None:
            return
        # What stands in later goes on, and takes this one along when it is removed.
        own = vars(module).get(NAME)
        while isinstance(own, StandIn) and own._module is None:
            own = own._own
        if own is None:
            vars(module).pop(NAME, None)
        else:
            vars(module)[NAME] = own


def _itself(step: Callable[..., Any]) -> Callable[..., Any]:
    return step
