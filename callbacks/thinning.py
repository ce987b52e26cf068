# SPDX-License-Identifier: Apache-2.0
"""A hook that belongs to one module of one training, and not to its copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ("Thinning",)


class Thinning:
    """A forward hook whose copies, by ``deepcopy`` or pickle, do nothing.

    An average or a teacher that is copied from the module in the middle of training would otherwise take a copy of
    the callback along, with scores that nobody re-estimates.

    Args:
        hook: what to call.

    Example:
        >>> import copy
        >>> hook = Thinning(lambda module, args, output: output + 1)
        >>> hook(None, (), 1), copy.deepcopy(hook)(None, (), 1)
        (2, None)
    """

    def __init__(self, hook: Callable[..., Any] | None = None) -> None:
        self.hook = hook

    def __call__(self, *args: Any) -> Any:
        """Call the hook; a copy returns None, which leaves inputs and outputs as they are."""
        return self.hook(*args) if self.hook is not None else None

    def __reduce__(self) -> tuple[type[Thinning], tuple[()]]:
        """Copy as a hook that does nothing."""
        return type(self), ()
