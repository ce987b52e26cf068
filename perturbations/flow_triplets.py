# SPDX-License-Identifier: Apache-2.0
"""Triplets for models that see a picture and its optical flow.

Source: Kowal et al., Sec. 3.1 (video object segmentation). The static pair shows one styled picture with two flows, the
dynamic pair one flow with a picture in two styles. The flow always comes from the video without style.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import BatchError, OptionError, did_you_mean
from .flow_colours import flow_to_colour
from .flow_jitter import FlowJitter
from .keyed_draws import KeyedDraws, key_names
from .pixel_range import check_unit_range
from .styles import FrameStyle, NetworkStyle, Style, StyleSet
from .styles.style_set import DEFAULT_STYLES
from .triplets import StyledTriplets, Triplet

__all__ = ("FlowTriplets",)


class FlowTriplets(StyledTriplets):
    """Triplets of (image, flow) by styles and flow jitter.

    The anchor is the image in a random style beside its flow; ``same_static`` the same styled image beside jittered
    flow; ``same_dynamic`` the image in another random style beside the same flow. Two-frame clips are rendered as
    clips, each in one style. Whatever is drawn for a sample depends on the seeds and the sample's key alone: it gets
    the same triplet at every measurement, in whatever batch, order or process. No global generator is touched.

    Args:
        styles: names of at least two styles, style objects, or a ``StyleSet``.
        seed: start of the draws of styles, not negative.
        jitter: what changes the flow; the default is ``FlowJitter("paper")`` with the same seed.
        image: the entry of the batch that holds the images.
        flow: the entry that holds the flow.
        id: the entry that names the samples, ``"<sequence>/<frame>"``. Where a batch has none, the positions in the
            batch name them, which fits a single batch only.

    Raises:
        ValueError: there are fewer than two styles, or the seed is negative.

    Example:
        >>> batch = {"image": torch.rand(2, 3, 16, 16), "flow": torch.rand(2, 3, 16, 16), "id": ["dog/0", "dog/1"]}
        >>> triplets = FlowTriplets(styles=["chalk", "neon"])
        >>> anchor, same_static, same_dynamic = triplets(batch)
        >>> [torch.equal(a, b) for a, b in zip(anchor, same_static)]  # the image is shared, the flow is not
        [True, False]
        >>> [torch.equal(a, b) for a, b in zip(anchor, same_dynamic)]  # the flow is shared, the style is not
        [False, True]
        >>> triplets.description["jitter"]["mode"]
        'paper'
    """

    def __init__(
        self,
        styles: Sequence[str] | StyleSet | Sequence[str | FrameStyle | NetworkStyle | Style] = DEFAULT_STYLES,
        seed: int = 0,
        jitter: FlowJitter | None = None,
        image: str = "image",
        flow: str = "flow",
        id: str = "id",  # noqa: A002 - the name of the batch entry
    ) -> None:
        super().__init__(styles, seed)
        self.jitter = jitter or FlowJitter(seed=seed)
        self.image, self.flow, self.id = image, flow, id

    @property
    def description(self) -> dict[str, object]:
        """Plain values that tell measurements with other styles, jitter or draws apart; for reports."""
        return {**super().description, "jitter": self.jitter.description}

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, jitter={self.jitter!r})"

    @torch.no_grad()
    def __call__(self, batch: Mapping[str, Any], keys: Sequence[int | str] | None = None) -> Triplet:
        """Make the triplets of a batch.

        Args:
            batch: holds floating-point images (B, 3, H, W), RGB in [0, 1], and flow as
                :class:`~staticdropout.perturbations.FlowJitter` takes it, (B, 3, H, W); or clips, images
                (B, 2, 3, H, W) with flow (B, 2, 6, H, W). On any device.
            keys: a name for each sample, the same at every measurement; by default those in the batch.

        Returns:
            Three tuples (image, flow), alike in shapes, dtypes and device. What members share is the same tensor.

        Raises:
            BatchError: an entry is missing or not as described.
            OptionError: a style needs neighbouring frames, and the batch has single ones.
        """
        image, flow = self._entry(batch, self.image), self._entry(batch, self.flow)
        _check_shapes(image, flow)
        check_unit_range(image, "images")
        temporal = [style.name for style in self.styles if style.temporal]
        if temporal and image.ndim == 4:
            raise OptionError(
                f"The style {temporal[0]!r} looks at neighbouring frames, and the batch has single ones. Write styled "
                "frames first (`staticdropout data stylize`), and measure on these."
            )
        names = key_names(batch.get(self.id) if keys is None else keys, image.shape[0])
        jittered = self.jitter(flow, names)
        clips = image.unsqueeze(2) if image.ndim == 4 else image.transpose(1, 2)
        draws = [KeyedDraws(self.seed, name) for name in names]
        first, second = (
            clip.squeeze(2) if image.ndim == 4 else clip.transpose(1, 2).contiguous()
            for clip in self.in_two_styles(clips, draws)
        )
        return Triplet(anchor=(first, flow), same_static=(first, jittered), same_dynamic=(second, flow))

    def picture(self, triplet: Triplet) -> dict[str, Tensor]:
        """Return what the first sample of a triplet looks like: for each member its (first) image and forward flow.

        Args:
            triplet: what a call returned.

        Returns:
            ``{name of the member: pixels (2, H, W, 3) in [0, 1]}``, float32 on the CPU; flow that is not drawn yet
            gets colours of one scale for all members.

        Example:
            >>> triplets = FlowTriplets(styles=["chalk", "neon"])
            >>> shown = triplets.picture(triplets({"image": torch.rand(1, 3, 8, 9), "flow": torch.rand(1, 3, 8, 9)}))
            >>> list(shown), shown["anchor"].shape
            (['anchor', 'same static', 'same dynamic'], torch.Size([2, 8, 9, 3]))
        """
        images = [_first_picture(image) for image, _ in triplet]
        flows = [_first_picture(flow) for _, flow in triplet]
        if flows[0].shape[0] == 2:  # side by side, they share their largest magnitude
            flows = list(flow_to_colour(torch.cat(flows, -1), self.jitter.encoding).chunk(len(flows), -1))
        names = [name.replace("_", " ") for name in Triplet._fields]
        pairs = zip(images, flows, strict=True)
        return {
            name: torch.stack((image, flow[:3])).permute(0, 2, 3, 1)
            for name, (image, flow) in zip(names, pairs, strict=True)
        }

    def _entry(self, batch: Mapping[str, Any], name: str) -> Tensor:
        if not isinstance(batch, Mapping):
            raise BatchError(
                f"Expected a batch with the entries {self.image!r} and {self.flow!r}, found a {type(batch).__name__}."
            )
        value = batch.get(name)
        if not isinstance(value, Tensor):
            found = f"{name!r} is a {type(value).__name__}" if name in batch else f"there is no entry {name!r}"
            raise BatchError(
                f"Expected a tensor {name!r} in the batch, but {found}. {did_you_mean(name, map(str, batch))} "
                "Name the entries with FlowTriplets(image=..., flow=..., id=...)."
            )
        return value


def _first_picture(pictures: Tensor) -> Tensor:
    """The first picture (C, H, W) of (B, C, H, W) or (B, T, C, H, W)."""
    return pictures[(0,) * (pictures.ndim - 3)].float().cpu()


def _check_shapes(image: Tensor, flow: Tensor) -> None:
    if image.ndim not in (4, 5) or image.shape[-3] != 3:
        raise BatchError(
            f"Expected RGB images of shape (B, 3, H, W) or clips of (B, 2, 3, H, W), found {tuple(image.shape)}. "
            "Put the channels before height and width."
        )
    if flow.ndim != image.ndim or flow.shape[:-3] != image.shape[:-3] or flow.shape[-2:] != image.shape[-2:]:
        raise BatchError(
            f"Expected flow beside every image, of its size, found images {tuple(image.shape)} and flow "
            f"{tuple(flow.shape)}. Give both the same samples, frames, height and width."
        )
