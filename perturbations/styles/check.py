# SPDX-License-Identifier: Apache-2.0
"""Whether a style keeps to what measurements rely on."""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor

from ...errors import BatchError
from .base import Style, check_clip

__all__ = ("check_style",)

_TOLERANCE = 2e-3  # half a step of 8 bits: networks round differently for one picture and for many


def check_style(style: Style, clip: Tensor, seed: int = 0) -> None:
    """Check that a style does what measurements rely on; meant for styles of your own, once, before a measurement.

    The styled clip must have the shape, dtype and device of the clip, finite pixels in [0, 1] and no gradient; the
    same clip must give the same pixels again, also in smaller batches; the clip itself and the global generators of
    random numbers must stay as they are; and each frame must be styled by itself, unless the style is ``temporal``.

    Args:
        style: the style.
        clip: clips (B, 3, T, H, W) in [0, 1] to try it on, best of your data; moving ones.
        seed: the seed to call it with.

    Raises:
        BatchError: the style breaks a rule; the message names all that it breaks. Or ``clip`` is not a clip.

    Example:
        >>> from staticdropout.perturbations import get_style
        >>> check_style(get_style("neon"), torch.rand(1, 3, 4, 32, 32))
    """
    check_clip(clip)
    given, states = clip.detach().clone().requires_grad_(), _random_states(clip.device)
    with torch.enable_grad():
        styled = style(given, seed=seed)
    found: list[str] = []
    if not isinstance(styled, Tensor) or styled.shape != clip.shape:
        shape = tuple(styled.shape) if isinstance(styled, Tensor) else f"a {type(styled).__name__}"
        raise BatchError(f"The style {style.name!r} returned {shape} for clips {tuple(clip.shape)}; keep the shape.")
    if (styled.dtype, styled.device) != (clip.dtype, clip.device):
        found.append(f"it returns {styled.dtype} on {styled.device} for {clip.dtype} on {clip.device}")
    if styled.requires_grad:
        found.append("its output has a gradient: decorate it with torch.no_grad()")
    styled = styled.detach()
    if not bool(styled.isfinite().all()):
        found.append("some pixels are not finite")
    elif not (float(styled.min()) >= 0 and float(styled.max()) <= 1):
        found.append(f"pixels go from {float(styled.min()):.3g} to {float(styled.max()):.3g}: clamp to [0, 1]")
    if not torch.equal(given, clip):
        found.append("it changes the clip that it is given")
    if any(before != after for before, after in zip(states, _random_states(clip.device), strict=True)):
        found.append("it uses the global random state: draw from a torch.Generator made from the seed")
    if _differ(style(clip, seed=seed), styled):
        found.append("the same clip gives other pixels when it is styled again")
    elif len(clip) > 1 and _differ(torch.cat([style(one[None], seed=seed) for one in clip]), styled):
        found.append("a clip gives other pixels beside other clips")
    elif not style.temporal:
        frames = [style(clip[:, :, t : t + 1], seed=seed) for t in range(clip.shape[2])]
        if _differ(torch.cat(frames, dim=2), styled):
            found.append("frames depend on each other: set temporal = True, or style each by itself")
    if found:
        raise BatchError(f"The style {style.name!r} is not fit for measurements: {'; '.join(found)}.")


def _differ(one: Tensor, other: Tensor) -> bool:
    return not bool(((one - other).abs() <= _TOLERANCE).all())


def _random_states(device: torch.device) -> tuple[bytes, ...]:
    numpy_state = np.random.get_state()[1]  # type: ignore[index] # noqa: NPY002
    on_device = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return (
        torch.get_rng_state().numpy().tobytes(),
        *(state.numpy().tobytes() for state in on_device),
        np.asarray(numpy_state).tobytes(),
        repr(random.getstate()).encode(),
    )
