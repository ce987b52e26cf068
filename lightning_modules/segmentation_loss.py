# SPDX-License-Identifier: Apache-2.0
"""The losses of MATNet, RTNet and FusionSeg: one function whose terms are weighted by argument."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.functional.image import structural_similarity_index_measure

from ..errors import BatchError, OptionError

__all__ = ("SegmentationLoss", "boundary_of", "soft_iou")


def boundary_of(mask: Tensor, radius: int = 2) -> Tensor:
    """Pixels whose distance from a pixel of the other label is at most ``radius``, on both sides of the contour.

    Args:
        mask: ``(B, 1, H, W)`` in {0, 1}.
        radius: in pixels.

    Returns:
        ``(B, 1, H, W)`` in {0, 1}, like ``mask`` in type. The picture's edge is no contour.

    Source:
        tfzhou/MATNet, edges of type "regular".

    Example:
        >>> boundary_of(torch.tensor([[[[0.0, 0.0, 0.0, 1.0, 1.0, 1.0]]]]), radius=1)
        tensor([[[[0., 0., 1., 1., 0., 0.]]]])
    """
    reach = torch.arange(-radius, radius + 1, device=mask.device)
    disk = (reach[:, None] ** 2 + reach**2 <= radius**2).to(torch.float32)
    padded = F.pad(mask.float(), [radius] * 4, mode="replicate")
    around = F.conv2d(padded, disk[None, None])
    return ((around > 0.5) & (around < disk.sum() - 0.5)).to(mask.dtype)


def soft_iou(probability: Tensor, mask: Tensor) -> Tensor:
    """Intersection over union of probabilities and a mask, one number a picture; 1 where both are empty.

    Example:
        >>> soft_iou(torch.tensor([[[[0.5, 0.5]]]]), torch.tensor([[[[1.0, 0.0]]]]))
        tensor([0.3333])
    """
    intersection = (probability * mask).flatten(1).sum(1)
    union = (probability + mask - probability * mask).flatten(1).sum(1)
    return torch.where(union > 0, intersection / union.clamp(min=1e-12), torch.ones_like(union))


class SegmentationLoss(nn.Module):
    """Sum of the losses of all outputs of a segmentation network.

    Every mask output (names that begin with ``mask`` or ``motion_mask``) costs its binary cross-entropy, plus
    ``ssim_weight`` times 1 - SSIM (window 11x11, Gaussian with σ 1.5), plus ``iou_weight`` times 1 - soft IoU. Every
    boundary output (``boundary…``) costs ``boundary_weight`` times its binary cross-entropy with the contour.

    ========= =============== =========== ==========
    network   boundary_weight ssim_weight iou_weight
    ========= =============== =========== ==========
    MATNet    0.2             0           0
    RTNet     no boundaries   1           1
    FusionSeg no boundaries   0           0
    ========= =============== =========== ==========

    FusionSeg's cross-entropy of two classes is the binary cross-entropy of the difference of its two logits.

    Args:
        boundary_weight: weight of each boundary output.
        ssim_weight: weight of the structural similarity of each mask.
        iou_weight: weight of the soft IoU of each mask.
        boundary_radius: half the width of the boundary target, in pixels.

    Raises:
        OptionError: if a weight is negative.

    Source:
        Training code of tfzhou/MATNet (weighted BCE, 0.2) and OliverRensu/RTNet (BCE + SSIM + IoU).

    Example:
        >>> mask = torch.ones(1, 1, 4, 4)
        >>> round(float(SegmentationLoss()({"mask": torch.zeros(1, 1, 4, 4)}, mask)), 4)
        0.6931
    """

    def __init__(
        self,
        boundary_weight: float = 0.2,
        ssim_weight: float = 0.0,
        iou_weight: float = 0.0,
        boundary_radius: int = 2,
    ) -> None:
        super().__init__()
        weights = {"boundary_weight": boundary_weight, "ssim_weight": ssim_weight, "iou_weight": iou_weight}
        for name, weight in weights.items():
            if weight < 0:
                raise OptionError(f"{name}={weight} must not be negative.")
        self.boundary_weight, self.ssim_weight, self.iou_weight = boundary_weight, ssim_weight, iou_weight
        self.boundary_radius = boundary_radius

    def forward(self, outputs: Mapping[str, Tensor], mask: Tensor, negatives: Tensor | None = None) -> Tensor:
        """Loss of a batch, a scalar in float32.

        Args:
            outputs: logits by name, ``(B, 1, h, w)`` or, for two frames, ``(B, 2, 1, h, w)``. Where their size is not
                that of the mask they are resized (bilinear).
            mask: ``(B, 1, H, W)`` or ``(B, 2, 1, H, W)`` in {0, 1}.
            negatives: hard-negative maps n in [0, 1] of the mask's shape; a pixel with n > 0 weighs 1 + n.

        Raises:
            BatchError: if there is no mask output.
        """
        with torch.autocast(mask.device.type, enabled=False):  # SSIM takes differences of nearly equal numbers
            return self._sum(outputs, mask.flatten(0, -4).float(), negatives)

    def _sum(self, outputs: Mapping[str, Tensor], mask: Tensor, negatives: Tensor | None) -> Tensor:
        weight = None if negatives is None else 1 + negatives.flatten(0, -4).float()
        contour: Tensor | None = None
        terms = []
        for name, output in outputs.items():
            if not name.startswith(("mask", "motion_mask", "boundary")):
                continue
            logits = output.flatten(0, -4).float()
            if logits.shape[-2:] != mask.shape[-2:]:
                logits = F.interpolate(logits, mask.shape[-2:], mode="bilinear", align_corners=False)
            if name.startswith("boundary"):
                if self.boundary_weight:
                    contour = boundary_of(mask, self.boundary_radius) if contour is None else contour
                    terms.append(
                        self.boundary_weight * F.binary_cross_entropy_with_logits(logits, contour, weight=weight)
                    )
            else:
                terms.append(self._mask_loss(logits, mask, weight))
        if not terms:
            raise BatchError(f"The model gave no mask: found the outputs {list(outputs)}, expected at least 'mask'.")
        return torch.stack(terms).sum()

    def _mask_loss(self, logits: Tensor, mask: Tensor, weight: Tensor | None) -> Tensor:
        loss = F.binary_cross_entropy_with_logits(logits, mask, weight=weight)
        if self.ssim_weight or self.iou_weight:
            probability = logits.sigmoid()
        if self.ssim_weight:
            similarity = structural_similarity_index_measure(
                probability, mask, sigma=1.5, kernel_size=11, data_range=1.0
            )
            assert isinstance(similarity, Tensor)  # noqa: S101 - a pair only where the full image is asked for
            loss = loss + self.ssim_weight * (1 - similarity)
        if self.iou_weight:
            loss = loss + self.iou_weight * (1 - soft_iou(probability, mask)).mean()
        return loss
