# SPDX-License-Identifier: Apache-2.0
"""Train, validate and test a two-stream network that segments the object that moves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from lightning.pytorch import Callback
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import SGD, Optimizer

from ..callbacks.segmentation_report import SegmentationReport
from ..errors import BatchError, OptionError, UnknownNameError
from ..metrics import CamouflageScores, SegmentationScores
from ..models import create_model, load_checkpoint, model_info
from ..models.segmentation import ResNetBackbone
from ..perturbations.flow_colours import Encoding, turn_flow_colours
from .recipe import OptimizerCallable, RecipeModule, SchedulerCallable
from .segmentation_evaluation import SegmentationEvaluation, mask_probabilities
from .segmentation_loss import SegmentationLoss

__all__ = ("VideoObjectSegmenter",)

PIXELS = {"image": 255, "flow": 255, "paired_image": 255, "paired_flow": 255, "negatives": 255, "mask": 1}
"""Entries of a batch that hold pictures, and the value that becomes 1."""


def default_optimizer(parameters: Iterable[Any]) -> Optimizer:
    """SGD as MATNet's: learning rate 1e-3, momentum 0.9, weight decay 5e-4."""
    return SGD(parameters, lr=1e-3, momentum=0.9, weight_decay=5e-4)


class VideoObjectSegmenter(RecipeModule):
    """Video object segmentation from an image and its optical flow: any registered network by name, or any module.

    Batches are dicts with ``image`` ``(B, 3, H, W)``, ``flow`` ``(B, 3, H, W)`` (flow as a colour image), ``mask``
    ``(B, 1, H, W)`` in {0, 1} and ``id``; RTNet takes two frames and the flow in both directions: ``(B, 2, 3, H, W)``,
    ``(B, 2, 6, H, W)``, ``(B, 2, 1, H, W)``. Pictures are uint8 from the loader, floats in [0, 1] once they are on the
    device. :meth:`forward` normalises, so that everything that perturbs pictures works on pixels.

    Logged: ``train/loss``; ``val/loss`` and, in percent, for DAVIS ``val/J``, ``val/J_recall``, ``val/J_decay``,
    ``val/F``, ``val/F_recall``, ``val/F_decay``, ``val/JF``; for MoCA ``val/mIoU``, ``val/success`` and
    ``val/success_0.5`` to ``val/success_0.9``; and the same for ``test``. Predictions are compared at the annotation's
    own size. The results by sequence are in :attr:`result` after a validation or test, and are printed.

    Args:
        model: a name of ``staticdropout models list``, or a module that maps normalised (image, flow) to a dict of
            foreground logits, ``{"mask": (B, 1, H, W), …}``.
        model_args: further arguments of the named model, e.g. ``{backbone: resnet50}``.
        checkpoint: official or own checkpoint to start from; read without running anything in it. For MATNet also the
            folder with ``encoder_<n>.pt`` and ``decoder_<n>.pt``.
        pretrained: start the backbones of a training from ImageNet weights: true lets timm download them, a path names
            a file with them. Weights of a checkpoint come before them.
        boundary_weight: weight of each boundary output in the loss; 0.2 in MATNet's recipe.
        ssim_weight: weight of 1 - SSIM of each mask; 1 in RTNet's recipe.
        iou_weight: weight of 1 - soft IoU of each mask; 1 in RTNet's recipe.
        boundary_radius: half the width of the boundary target in pixels.
        scores: ``"davis"`` for J and F of masks, ``"moca"`` for the overlap of boxes.
        threshold: a pixel is foreground above this probability; 0.5 on DAVIS, 0.2 (or 0.1) on MoCA. None: 0.5, or 0.2
            with ``scores="moca"``.
        box_rule: which region of a mask becomes the box on MoCA: ``"largest"`` (motiongrouping) or ``"mass"``, the
            largest sum of mask values (the study of the paper, which has a threshold of 0.2).
        flip_average: in evaluation, average the masks of the picture and of its mirror image, as MATNet does.
        align_corners: how predictions are resized to the annotation's size; RTNet's code aligns corners.
        stretch: stretch each prediction to [0, 1] before the threshold, as RTNet's released inference does.
        turn_flow: mirror the vectors of the flow with the picture. False keeps its colours, as the released code
            does; for official weights.
        flow_encoding: the colour code of the flow images, ``"middlebury"`` or ``"hsv"``; needed to turn them.
        random_sizes: sizes (H, W) that training batches are resized to, one drawn for each batch; RTNet's recipe.
        batch_statistics: False: BatchNorm keeps its running statistics in training, for batches of one or two.
        optimizer: makes the optimizer from parameter groups.
        lr_scheduler: makes the schedule.
        norm_weight_decay: weight decay of normalisation layers; None: the optimizer's own, as in the recipes.
        learning_rates: learning rates of parts, e.g. ``{model.encoder: 1e-4, model.decoder: 1e-3}``.
        mean: subtracted from pixels of images and flow images.
        std: divides them then.

    Raises:
        UnknownNameError: if no model or rule has this name.
        OptionError: for an option out of range, or a model for another task.
        CheckpointError: if the checkpoint cannot be read or belongs to another model.

    Example:
        >>> small = {"backbone": "resnet18", "backbone_args": {"channels": (8, 16, 32, 64)}}
        >>> module = VideoObjectSegmenter("matnet", small)
        >>> module(torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64))["mask"].shape
        torch.Size([2, 1, 64, 64])
    """

    def __init__(
        self,
        model: str | nn.Module = "matnet",
        model_args: dict[str, Any] | None = None,
        checkpoint: str | None = None,
        pretrained: bool | str = False,
        boundary_weight: float = 0.2,
        ssim_weight: float = 0.0,
        iou_weight: float = 0.0,
        boundary_radius: int = 2,
        scores: Literal["davis", "moca"] = "davis",
        threshold: float | None = None,
        box_rule: Literal["largest", "mass"] = "mass",
        flip_average: bool = False,
        align_corners: bool = False,
        stretch: bool = False,
        turn_flow: bool = True,
        flow_encoding: Encoding = "middlebury",
        random_sizes: Sequence[tuple[int, int]] = (),
        batch_statistics: bool = True,
        optimizer: OptimizerCallable = default_optimizer,
        lr_scheduler: SchedulerCallable | None = None,
        norm_weight_decay: float | None = None,
        learning_rates: dict[str, float] | None = None,
        mean: Sequence[float] = (0.485, 0.456, 0.406),
        std: Sequence[float] = (0.229, 0.224, 0.225),
    ) -> None:
        super().__init__(optimizer, lr_scheduler, norm_weight_decay, learning_rates)
        # what a checkpoint needs to be loaded again without the files that this module was made from
        unsaved = ["checkpoint", "pretrained", "optimizer", "lr_scheduler"]
        self.save_hyperparameters(ignore=unsaved if isinstance(model, str) else [*unsaved, "model"])
        if scores not in ("davis", "moca"):
            raise UnknownNameError("kind of scores", scores, ("davis", "moca"))
        self.threshold = threshold if threshold is not None else {"davis": 0.5, "moca": 0.2}[scores]
        if not 0 < self.threshold < 1:
            raise OptionError(f"threshold={threshold} must lie between 0 and 1.")
        if isinstance(model, str):
            if model_info(model).task != "segmentation":
                raise OptionError(f"{model} is no segmentation network. `staticdropout models list` shows which are.")
            self.model = create_model(model, **(model_args or {}))
            self.clip_frames: int | None = model_info(model).frames
        else:
            if model_args:
                raise OptionError("model_args are for models by name; build the module with them instead.")
            self.model, self.clip_frames = model, None
        if checkpoint is not None:
            load_checkpoint(self.model, checkpoint)
        self._backbone_weights = pretrained if checkpoint is None else False
        self.random_weights = isinstance(model, str) and checkpoint is None
        self.register_load_state_dict_post_hook(_keep_loaded_weights)  # type: ignore[no-untyped-call]
        self.loss = SegmentationLoss(boundary_weight, ssim_weight, iou_weight, boundary_radius)
        self.flip_average, self.turn_flow = flip_average, turn_flow
        self.align_corners, self.stretch = align_corners, stretch
        self.flow_encoding: Encoding = flow_encoding
        self.random_sizes = [tuple(size) for size in random_sizes]
        self.batch_statistics = batch_statistics
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)
        self.evaluations = nn.ModuleDict(
            {
                stage: SegmentationEvaluation(
                    CamouflageScores(box_rule=box_rule, threshold=self.threshold)
                    if scores == "moca"
                    else SegmentationScores(threshold=self.threshold)
                )
                for stage in ("val", "test")
            }
        )
        self.result: Any = None
        """Result of the last validation or test, see :class:`~staticdropout.metrics.SegmentationScores`."""
        self.train()  # Lightning keeps the modes that it finds

    mean: Tensor
    std: Tensor

    def configure_callbacks(self) -> list[Callback]:
        """Print the results by sequence, and keep random states in checkpoints."""
        return [*super().configure_callbacks(), SegmentationReport()]

    def setup(self, stage: str) -> None:
        """Compare with the data module, and load the backbones' weights before a training.

        A validation takes its weights from elsewhere.

        Raises:
            OptionError: if module and data module were told different things.
        """
        data = getattr(self.trainer, "datamodule", None)
        for name in ("clip_frames", "flow_encoding", "turn_flow"):
            mine, given = getattr(self, name), getattr(data, name, None)
            if mine is not None and given is not None and mine != given:
                other = "choose another model" if name == "clip_frames" else f"change --model.{name}"
                raise OptionError(
                    f"{name} is {mine!r} in the model and {given!r} in the data; both have to be the same. "
                    f"Set --data.{name} {str(mine).lower()}, or {other}."
                )
        weights, resumed = self._backbone_weights, self.trainer.ckpt_path is not None
        if stage != "fit" or not weights or resumed:
            return
        self._backbone_weights = False  # a second training goes on from the first
        backbones = [part for part in self.model.modules() if isinstance(part, ResNetBackbone)]
        if not backbones:
            raise OptionError(f"pretrained is for the networks of this package, not for {type(self.model).__name__}.")
        for backbone in backbones:
            backbone.load_pretrained(None if weights is True else weights)

    def train(self, mode: bool = True) -> VideoObjectSegmenter:
        """Set the mode; BatchNorm stays in evaluation without ``batch_statistics``."""
        super().train(mode)
        if not self.batch_statistics:
            for part in self.model.modules():
                if isinstance(part, _BatchNorm):
                    part.eval()
        return self

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Make float pixels of uint8 pixels, on the device."""
        if not isinstance(batch, dict) or "image" not in batch or "flow" not in batch:
            found = sorted(batch) if isinstance(batch, dict) else type(batch).__name__
            raise BatchError(f"Expected a batch with the keys image, flow, mask and id, found {found}.")
        batch = dict(batch)
        for name, scale in PIXELS.items():
            if name in batch and not batch[name].is_floating_point():
                batch[name] = batch[name].float() / scale
        return batch

    def forward(self, image: Tensor, flow: Tensor) -> dict[str, Tensor]:
        """Foreground logits by name, of images and flow images with pixels in [0, 1]."""
        both_ways = flow.shape[-3] // self.mean.shape[-3]  # forward and backward flow, one behind the other
        mean, std = self.mean.repeat(both_ways, 1, 1), self.std.repeat(both_ways, 1, 1)
        inputs = ((image - self.mean) / self.std, (flow - mean) / std)
        outputs: dict[str, Tensor] = self.model(*(picture.to(self.model_dtype) for picture in inputs))
        return outputs

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Loss of a batch."""
        image, flow, mask, negatives = self._resized(batch)
        loss: Tensor = self.loss(self(image, flow), mask, negatives)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(image))
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """Scores of a batch; returns the probabilities, see :meth:`predict_step`."""
        return self._evaluate(batch, "val")

    def test_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """Scores of a batch; returns the probabilities, see :meth:`predict_step`."""
        return self._evaluate(batch, "test")

    def predict_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """``{"id": names, "probability": [(H0, W0), …]}``: of the first frame of each clip, at the annotation's size.

        Where there is no annotation, the size is the network's.
        """
        return {"id": batch["id"], "probability": self._probabilities(self._logits(batch), batch)}

    def on_validation_epoch_end(self) -> None:
        """Log the scores."""
        self._log_scores("val")

    def on_test_epoch_end(self) -> None:
        """Log the scores."""
        self._log_scores("test")

    def example_inputs(self, frames: int = 1, size: int = 96) -> tuple[Tensor, Tensor]:
        """Random inputs of one clip, to list layers with."""
        if self.clip_frames == 2:
            return torch.rand(1, 2, 3, size, size), torch.rand(1, 2, 6, size, size)
        return torch.rand(1, 3, size, size), torch.rand(1, 3, size, size)

    def _resized(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """The inputs of a training batch, at a random size where several are given."""
        if "mask" not in batch:
            raise BatchError(f"A training batch needs masks, found the keys {sorted(batch)}.")
        image, flow, mask, negatives = batch["image"], batch["flow"], batch["mask"], batch.get("negatives")
        if self.random_sizes:
            size = self.random_sizes[int(torch.randint(len(self.random_sizes), ()))]
            image, flow = _resize(image, size, "bilinear"), _resize(flow, size, "bilinear")
            mask = _resize(mask, size, "nearest")
            negatives = _resize(negatives, size, "bilinear") if negatives is not None else None
        return image, flow, mask, negatives

    def _logits(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        image, flow = batch["image"], batch["flow"]
        outputs = dict(self(image, flow))
        if self.flip_average:
            mirrored = flow.flip(-1)
            if self.turn_flow:  # forward and backward flow are pictures of their own
                pictures = mirrored.unflatten(-3, (-1, 3))
                mirrored = turn_flow_colours(pictures, self.flow_encoding, flip=True).flatten(-4, -3)
            other = self(image.flip(-1), mirrored)["mask"].flip(-1)
            mean = (outputs["mask"].sigmoid() + other.sigmoid()) / 2
            outputs["mask"] = mean.logit(eps=1e-6)
        return outputs

    def _probabilities(self, outputs: dict[str, Tensor], batch: dict[str, Any]) -> list[Tensor]:
        annotations = batch.get("annotation") or [None] * len(outputs["mask"])
        sizes = [None if annotation is None else annotation.shape for annotation in annotations]
        return mask_probabilities(outputs["mask"], sizes, self.align_corners, self.stretch)

    def _evaluate(self, batch: dict[str, Any], stage: str) -> dict[str, Any]:
        outputs = self._logits(batch)
        probability = self._probabilities(outputs, batch)
        self._evaluation(stage).update(outputs, probability, batch, self.loss)
        return {"id": batch["id"], "probability": probability}

    def _evaluation(self, stage: str) -> SegmentationEvaluation:
        evaluation = self.evaluations[stage]
        assert isinstance(evaluation, SegmentationEvaluation)  # noqa: S101 - as they were made
        return evaluation

    def _log_scores(self, stage: str) -> None:
        result, numbers = self._evaluation(stage).compute(self.trainer.world_size)
        self.result = None if self.trainer.sanity_checking else result
        # all ranks have merged the same frames: the mean over ranks is the number itself
        self.log_dict({f"{stage}/{name}": value for name, value in numbers.items()}, sync_dist=True)


def _keep_loaded_weights(module: nn.Module, incompatible: Any) -> None:
    """Weights that somebody has loaded are not replaced by those of ImageNet."""
    assert isinstance(module, VideoObjectSegmenter)  # noqa: S101 - the hook is its own
    module._backbone_weights = False


def _resize(picture: Tensor, size: tuple[int, ...], mode: str) -> Tensor:
    """Resize pictures ``(..., C, H, W)``."""
    flat = picture.flatten(0, -4)
    options = {"align_corners": False} if mode == "bilinear" else {}
    return F.interpolate(flat, size, mode=mode, **options).view(*picture.shape[:-2], *size)
