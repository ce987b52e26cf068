# SPDX-License-Identifier: Apache-2.0
"""Pairs that the data module has made: read from batches that hold both sides and what they share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from ..errors import BatchError, OptionError
from ..metrics import FACTORS
from .batch_entries import describe
from .batches import VideoInputs

__all__ = ("PreparedPairs", "as_measured", "pair_pictures", "pair_protocol", "read_pairs")

EXPECTED = (
    "'video' and 'paired_video' (or 'image', 'flow', 'paired_image' and 'paired_flow') with 'factor' and 'seed', one "
    "number a pair"
)


def pair_protocol(trainer: Trainer) -> dict[str, Any] | None:
    """How the data module of a Trainer makes pairs, or None where it makes none.

    A data module tells by an attribute ``pair_protocol``: a dict of plain values that names the protocol, the styles
    with their hash, and the seeds. Its validation batches then hold pairs, see :func:`read_pairs`.

    Raises:
        OptionError: the attribute is something else.
    """
    found = getattr(getattr(trainer, "datamodule", None), "pair_protocol", None)
    if found is None:
        return None
    try:
        plain = json.loads(json.dumps(found))
        named = isinstance(plain["protocol"], str)
        lists = {name: plain.get(name, []) for name in ("seeds", "oddities", "style_names")}
        kinds = {"seeds": int, "oddities": str, "style_names": str}
        told = named and all(
            isinstance(values, list) and all(isinstance(value, kinds[name]) for value in values)
            for name, values in lists.items()
        )
    except (TypeError, ValueError, LookupError):
        told = False
    if not told:
        raise OptionError(
            "The data module's pair_protocol must be a dict of plain values with 'protocol' (its name) and, where "
            f"there are any, lists 'seeds' (whole numbers), 'oddities' and 'style_names' (texts); found "
            f"{str(found)[:200]}. Mend it, or give BiasMonitor triplets=... to measure something else."
        )
    return dict(plain)


def as_measured(protocol: Mapping[str, Any], measured: Mapping[int, int]) -> dict[str, Any]:
    """The seeds and pairs of a measurement, for its report; warns where they are not those of the protocol.

    Args:
        protocol: what the data module says.
        measured: pairs of each seed that were measured.

    Example:
        >>> as_measured({"protocol": "mine", "seeds": [1, 2]}, {1: 40, 2: 40})
        {'seeds': [1, 2], 'pairs_per_seed': 40}
    """
    counts = sorted(set(measured.values()))
    pairs = counts[0] if len(counts) == 1 else list(measured.values())
    wanted = protocol.get("seeds", list(measured)), protocol.get("pairs_per_seed", pairs)
    if wanted != (list(measured), pairs):
        rank_zero_warn(
            f"The protocol draws {wanted[1]} pairs for each of the seeds {wanted[0]}; measured were {pairs} for "
            f"{list(measured)}, and the report says so. Look for limit_val_batches, for videos that could not be read, "
            "and for seeds without two pairs of each factor."
        )
    return {"seeds": list(measured), "pairs_per_seed": pairs}


class PreparedPairs(NamedTuple):
    """A batch of pairs.

    Attributes:
        first: what the model is called with for the first sides: a video, a list of pathways, or a tuple (image, flow).
        second: the same for the second sides.
        factor: ``(B,)`` what each pair shares, an index into ``FACTORS``.
        seed: ``(B,)`` the seed that drew each pair.
    """

    first: Any
    second: Any
    factor: Tensor
    seed: Tensor


def read_pairs(batch: Any, inputs: VideoInputs) -> PreparedPairs:
    """Read the pairs of a batch.

    Action recognition: ``video`` (as the LightningModule sees it) and ``paired_video`` (uint8, or floats in [0, 1]),
    and for two pathways that were sampled apart also ``slow`` and ``paired_slow``. Segmentation: ``image``, ``flow``,
    ``paired_image``, ``paired_flow``. Both: ``factor`` and ``seed``.

    Args:
        batch: as the LightningModule has it, on the device.
        inputs: how its videos are normalised.

    Raises:
        BatchError: something is missing, or sides differ in shape.

    Example:
        >>> batch = {"video": torch.rand(2, 3, 4, 8, 8), "paired_video": torch.rand(2, 3, 4, 8, 8)}
        >>> batch |= {"factor": torch.tensor([0, 1]), "seed": torch.tensor([1, 1])}
        >>> pairs = read_pairs(batch, VideoInputs())
        >>> pairs.first.shape == pairs.second.shape, pairs.seed.tolist()
        (True, [1, 1])
    """
    if not isinstance(batch, Mapping) or "factor" not in batch or "seed" not in batch:
        raise BatchError(f"Expected a batch of pairs with {EXPECTED}; found {describe(batch)}.")
    factor, seed = _numbers(batch, "factor"), _numbers(batch, "seed")
    if len(factor) and not 0 <= int(factor.min()) <= int(factor.max()) < len(FACTORS):
        raise BatchError(
            f"'factor' says what a pair shares, {', '.join(f'{n} {name}' for n, name in enumerate(FACTORS))}; found "
            f"numbers from {int(factor.min())} to {int(factor.max())}."
        )
    if "paired_image" in batch:
        first, second = (
            tuple(_pixels(batch, f"{side}{name}") for name in ("image", "flow")) for side in ("", "paired_")
        )
        _check_shapes(zip(first, second, strict=True), batch)
        return PreparedPairs(first, second, factor, seed)
    if "paired_video" not in batch:
        raise BatchError(f"Expected a batch of pairs with {EXPECTED}; found {describe(batch)}.")
    video, paired = inputs.find(batch), batch["paired_video"]
    if len(video) == 0 or len(paired) == 0:  # nothing of the batch could be read
        return PreparedPairs(video, paired, factor, seed)
    pixels = inputs.pixels(paired)
    layout = inputs._layout(video)
    if list(pixels.shape) != [video.shape[layout.index(axis)] if axis != "C" else 3 for axis in "BCTHW"]:
        _check_shapes([(video, paired)], batch)
    paired = inputs.restore(pixels, like=video)
    if "paired_slow" not in batch:
        return PreparedPairs(video, paired, factor, seed)
    slow, paired_slow = (_like(video, inputs.pixels(batch[name]), inputs) for name in ("slow", "paired_slow"))
    return PreparedPairs([slow, video], [paired_slow, paired], factor, seed)


def pair_pictures(batch: Mapping[str, Any], pairs: PreparedPairs, inputs: VideoInputs) -> dict[str, Tensor]:
    """What the first pair of each factor in a batch looks like, ``{name: pixels (T, H, W, 3) in [0, 1]}`` on the CPU.

    Pairs of an image and its flow show these two as frames.

    Example:
        >>> batch = {"video": torch.rand(2, 3, 4, 8, 8), "paired_video": torch.rand(2, 3, 4, 8, 8)}
        >>> batch |= {"factor": torch.tensor([0, 1]), "seed": torch.tensor([1, 1])}
        >>> list(pair_pictures(batch, read_pairs(batch, VideoInputs()), VideoInputs()))
        ['static pair: first', 'static pair: second', 'dynamic pair: first', 'dynamic pair: second']
    """
    pictures: dict[str, Tensor] = {}
    for number, factor in enumerate(FACTORS):
        rows = (pairs.factor == number).nonzero()
        if not len(rows):
            continue
        for name, side in (("first", pairs.first), ("second", pairs.second)):
            row = int(rows[0])
            if isinstance(side, tuple):
                shown = [part[row][0] if part.ndim == 5 else part[row] for part in side]  # of two frames the first
                clip = torch.stack([picture[:3] for picture in shown])
            else:
                video = side[-1] if isinstance(side, list) else side
                clip = inputs.pixels(video[row : row + 1])[0].transpose(0, 1)
            pictures[f"{factor} pair: {name}"] = clip.permute(0, 2, 3, 1).float().cpu()
    return pictures


def _numbers(batch: Mapping[str, Any], name: str) -> Tensor:
    value = batch[name]
    if not isinstance(value, Tensor) or value.ndim != 1 or value.is_floating_point():
        raise BatchError(f"Expected whole numbers {name!r}, one a pair, in a batch of pairs; found {describe(value)}.")
    return value


def _pixels(batch: Mapping[str, Any], name: str) -> Tensor:
    value = batch.get(name)
    if not isinstance(value, Tensor):
        raise BatchError(f"Expected a tensor {name!r} in a batch of pairs with {EXPECTED}; found {describe(batch)}.")
    return value if value.is_floating_point() else value.float() / 255


def _like(video: Tensor, pixels: Tensor, inputs: VideoInputs) -> Tensor:
    """Pixels in the range, layout and type of a video, but with their own number of frames."""
    dim = inputs.time_dim(video)
    template = video.narrow(dim, 0, 1).repeat_interleave(pixels.shape[2], dim)
    return inputs.restore(pixels, like=template)


def _check_shapes(sides: Any, batch: Any) -> None:
    for first, second in sides:
        if first.shape != second.shape:
            raise BatchError(
                f"The two sides of a pair must be alike in shape, found {tuple(first.shape)} and "
                f"{tuple(second.shape)} in a batch that holds {describe(batch)}."
            )
