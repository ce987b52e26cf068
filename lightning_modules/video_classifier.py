# SPDX-License-Identifier: Apache-2.0
"""Train, validate and test a video classifier."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassStatScores

from ..callbacks.class_report import ClassReport
from ..callbacks.shuffle_confusion import ShuffleConfusion
from ..callbacks.skipped_videos import SkippedVideos
from ..errors import AnnotationError, BatchError, OptionError
from ..models import ResNet3d, TimeSformer, create_model, inflate_from_timm, load_checkpoint, model_info
from ..models.adaptation import Adaptable
from .recipe import OptimizerCallable, RecipeModule, SchedulerCallable

__all__ = ("VideoClassifier",)

PIXELS = ("video", "views", "paired_video", "slow", "paired_slow")
"""Entries of a batch that hold clips: of all data modules, of those with views, and of those that make pairs."""


def default_optimizer(parameters: Iterable[Any]) -> Optimizer:
    """SGD as in the paper: learning rate 0.1 for 64 clips a step, Nesterov momentum 0.9, weight decay 1e-4."""
    return SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True)


class VideoClassifier(RecipeModule):
    """A video classifier with cross-entropy: any registered model by name, or any module.

    Batches are dicts ``{"video", "label", "id"}`` with videos ``(B, 3, T, H, W)``: uint8 from the loader, floats in
    [0, 1] once they are on the device. :meth:`forward` normalises, so that everything that perturbs clips works on
    pixels.

    Logged: ``train/loss``, ``train/top1``; ``val/loss``, ``val/top1``, ``val/top5``, ``val/class_mean`` (mean of the
    accuracies per class), and the same for ``test``, in percent. The accuracy of every class is in
    :attr:`class_accuracy` after a validation or test. A test batch may hold several views of a clip,
    ``(B, V, 3, T, H, W)``; their probabilities are averaged. An evaluation batch with ``"views"`` of that shape beside
    its ``"video"`` is scored on the views.

    Args:
        model: a name of ``staticdropout models list``, or a module that maps normalised videos to logits ``(B,
            num_classes)``.
        num_classes: number of classes; 174 on Something-Something v2.
        model_args: further arguments of the named model, e.g. ``{width: 16}``.
        checkpoint: official or own checkpoint to start from; read without running anything in it. A head of another
            class count is left out and reported, everything else must fit.
        checkpoint_args: further arguments of :func:`~staticdropout.models.load_checkpoint`: ``{allow: ["head.*"]}``,
            ``{pathway: fast}`` for a FastOnly from a SlowFast file, ``{head_mode: softmax}``.
        inflate: name of a timm network whose ImageNet weights the model starts from: a ResNet (``resnet50``), inflated
            to 3-D, or for TimeSformer a vision transformer (``vit_base_patch16_224``).
        inflate_weights: file with such weights, where timm shall not download them.
        dropout: rate of standard dropout before the classifier, the paper's baseline.
        label_smoothing: of the cross-entropy.
        optimizer: makes the optimizer from parameters or parameter groups.
        lr_scheduler: makes the schedule. Schedulers of timm count in epochs and are set after every step, at fractions
            of an epoch, as the SlowFast recipes do; those of torch are stepped once an epoch.
        norm_weight_decay: weight decay of normalisation layers; 0 in the SlowFast recipes. None: the optimizer's own.
        mean: subtracted from pixels in [0, 1]; 0.45 in the official models.
        std: divides them then; 0.225 in the official models.
        shuffle_confusion: weight of a confusion loss on clips with shuffled frames, 0 for none (0.3 is a
            good start, see ``docs/study.md``); brings a
            :class:`~staticdropout.callbacks.ShuffleConfusion` along, which the Trainer can be given instead. It acts
            for this module alone, also in a Trainer that goes on with another one.
        shuffle_confusion_every: optimizer steps from one with that loss to the next.
        channels_last: lay out weights and clips with their channels last (``torch.channels_last_3d``), for GPUs and for
            models that are not of this package; the 3-D networks of this package do so by themselves on a CPU.

    Raises:
        UnknownNameError: if no model has this name.
        CheckpointError: if the checkpoint cannot be read or belongs to another model.
        OptionError: for options out of range or that do not go together; at the start of a training also for another
            ShuffleConfusion in the Trainer.
        AnnotationError: during training, if a label is not below ``num_classes``.

    Example:
        >>> module = VideoClassifier("resnet3d_r18", num_classes=4, model_args={"width": 8})
        >>> module(torch.rand(2, 3, 8, 32, 32)).shape
        torch.Size([2, 4])
    """

    def __init__(
        self,
        model: str | nn.Module = "resnet3d_r18",
        num_classes: int = 174,
        model_args: dict[str, Any] | None = None,
        checkpoint: str | None = None,
        checkpoint_args: dict[str, Any] | None = None,
        inflate: str | None = None,
        inflate_weights: str | None = None,
        dropout: float = 0.0,
        label_smoothing: float = 0.0,
        optimizer: OptimizerCallable = default_optimizer,
        lr_scheduler: SchedulerCallable | None = None,
        norm_weight_decay: float | None = 0.0,
        mean: Sequence[float] = (0.45, 0.45, 0.45),
        std: Sequence[float] = (0.225, 0.225, 0.225),
        shuffle_confusion: float = 0.0,
        shuffle_confusion_every: int = 1,
        channels_last: bool = False,
    ) -> None:
        super().__init__(optimizer, lr_scheduler, norm_weight_decay)
        ShuffleConfusion(shuffle_confusion, shuffle_confusion_every)  # refuses now what is out of range
        # what a checkpoint needs to be loaded again without the files that this module was made from
        unsaved = ["checkpoint", "checkpoint_args", "inflate", "inflate_weights", "optimizer", "lr_scheduler"]
        self.save_hyperparameters(ignore=unsaved if isinstance(model, str) else [*unsaved, "model"])
        if isinstance(model, str):
            if model_info(model).task != "classification":
                raise OptionError(
                    f"{model} is no classifier. Segmentation networks are trained by VideoObjectSegmenter."
                )
            extra = {"dropout": dropout} if dropout else {}
            self.model = create_model(model, num_classes, **extra, **(model_args or {}))
        else:
            if dropout or model_args:
                raise OptionError("dropout and model_args are for models by name; build the module with them instead.")
            self.model = model
        self.loaded_from = ""
        """The checkpoint that the network started from."""
        if inflate is not None:
            if not isinstance(self.model, ResNet3d | TimeSformer):
                raise OptionError(
                    f"inflate is for this package's 3-D ResNets and TimeSformer, not for {type(self.model).__name__}."
                )
            inflate_from_timm(self.model, inflate, inflate_weights or True)
        if checkpoint is not None:
            report = load_checkpoint(self.model, checkpoint, **(checkpoint_args or {}))
            rank_zero_info(str(report))
            self.loaded_from = report.path
            self._keep_form(model_args)
        self.random_weights = isinstance(model, str) and inflate is None and checkpoint is None
        self.channels_last = channels_last
        if channels_last:
            for weights in self.model.parameters():
                if weights.ndim == 5:  # Module.to would stop at 2-D convolutions beside these
                    weights.data = weights.data.contiguous(memory_format=torch.channels_last_3d)
        self.num_classes = num_classes
        self.loss = nn.CrossEntropyLoss(label_smoothing=label_smoothing)
        self.shuffle_confusion, self.shuffle_confusion_every = shuffle_confusion, shuffle_confusion_every
        self.class_accuracy: Tensor | None = None
        """``(num_classes,)`` accuracy of every class in percent after a validation or test; NaN without clips."""
        self.class_counts: Tensor | None = None
        """``(num_classes, 2)`` correct clips and all clips of every class after a validation or test."""
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1, 1), persistent=False)
        self.train_top1 = MulticlassAccuracy(num_classes, average="micro")
        self.val_metrics = self._metrics("val/")
        self.test_metrics = self._metrics("test/")

    mean: Tensor
    std: Tensor

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Give the network the form of a checkpoint of ours, which may be that of an official file it started from."""
        super().on_load_checkpoint(checkpoint)
        if isinstance(self.model, Adaptable):
            weights = checkpoint["state_dict"].items()
            self.model.adapt_to({name.removeprefix("model."): w for name, w in weights if name.startswith("model.")})
            self._keep_form(self.hparams.get("model_args"))

    def _keep_form(self, model_args: dict[str, Any] | None) -> None:
        """Note what the checkpoint has changed in the model's form, so that one of ours is loaded into the same."""
        form = getattr(self.model, "form", {})
        if form and "model" in self.hparams:
            self.hparams["model_args"] = {**(model_args or {}), **form}

    @property
    def _gives_probabilities(self) -> bool:
        """Whether the network ends in the official heads' softmax, which they leave out in training."""
        return getattr(getattr(self.model, "head", None), "mode", "logits") == "softmax" and not self.training

    def _metrics(self, prefix: str) -> MetricCollection:
        top5 = min(5, self.num_classes)
        return MetricCollection(
            {
                "top1": MulticlassAccuracy(self.num_classes, average="micro"),
                "top5": MulticlassAccuracy(self.num_classes, average="micro", top_k=top5),
                "classes": MulticlassStatScores(self.num_classes, average="none"),
            },
            prefix=prefix,
        )

    def configure_callbacks(self) -> list[Callback]:
        """Report videos that could not be read and classes, keep random states in checkpoints, confuse if asked to."""
        callbacks: list[Callback] = self._trainer.callbacks if self._trainer else []  # type: ignore[attr-defined]
        # one of the module would replace one that the Trainer was given
        reports = [] if any(isinstance(callback, ClassReport) for callback in callbacks) else [ClassReport()]
        return [*super().configure_callbacks(), SkippedVideos(), *reports, *self._confusion()]

    def _confusion(self) -> list[Callback]:
        """The ShuffleConfusion that was asked for, unless the Trainer has it already: from the user, or of ours."""
        callbacks: list[Callback] = self._trainer.callbacks if self._trainer else []  # type: ignore[attr-defined]
        there = [callback for callback in callbacks if isinstance(callback, ShuffleConfusion)]
        brought = [callback for callback in there if callback._brought_by is not None]
        ours = [one for one in brought if one._brought_by == weakref.ref(self) and self.shuffle_confusion]
        if self._trainer and len(ours) < len(brought):  # those of other modules do not go on
            kept = [callback for callback in callbacks if callback not in brought or callback in ours]
            self._trainer.callbacks = kept  # type: ignore[attr-defined]
        if ours or not self.shuffle_confusion:
            return []
        wanted = ShuffleConfusion(self.shuffle_confusion, self.shuffle_confusion_every)
        wanted._brought_by = weakref.ref(self)
        given = [callback for callback in there if callback not in brought]
        for callback in given:
            if (callback.weight, callback.every_n_steps) != (wanted.weight, wanted.every_n_steps):
                raise OptionError(
                    f"The model asks for a confusion loss of weight {wanted.weight} every {wanted.every_n_steps} "
                    f"steps, but the Trainer has a ShuffleConfusion of weight {callback.weight} every "
                    f"{callback.every_n_steps}. Say it once: leave shuffle_confusion at 0, or the callback out."
                )
        return [] if given else [wanted]

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Make float pixels of uint8 pixels, on the device."""
        if not isinstance(batch, dict) or "video" not in batch:
            found = sorted(batch) if isinstance(batch, dict) else type(batch).__name__
            raise BatchError(f"Expected a batch with the keys video, label and id, found {found}.")
        pixels = {name: batch[name] for name in PIXELS if name in batch}
        return batch | {name: p if p.is_floating_point() else p.float() / 255 for name, p in pixels.items()}

    def forward(self, video: Tensor | Sequence[Tensor]) -> Tensor:
        """Logits ``(B, num_classes)`` of videos ``(B, 3, T, H, W)`` with pixels in [0, 1].

        SlowFast also takes a clip for each pathway, slow and fast. A model whose head was built with
        ``head_mode="softmax"`` gives probabilities in evaluation.
        """
        if not isinstance(video, Tensor):
            return self.model([self._normalised(clip) for clip in video])  # type: ignore[no-any-return]
        logits: Tensor = self.model(self._normalised(video))
        return logits

    def _normalised(self, video: Tensor) -> Tensor:
        layout = torch.channels_last_3d if self.channels_last else torch.preserve_format
        return ((video - self.mean) / self.std).to(self.model_dtype, memory_format=layout)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Cross-entropy of a batch."""
        label = self._labels(batch)
        logits = self(batch["video"])
        loss: Tensor = self.loss(logits, label)
        self.train_top1(logits.detach(), label)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(label))
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Loss and accuracies of a batch."""
        self._evaluate(batch, self.val_metrics, "val")

    def test_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> None:
        """Loss and accuracies of a batch, averaged over views."""
        self._evaluate(batch, self.test_metrics, "test")

    def predict_step(self, batch: dict[str, Any], batch_idx: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """Probabilities ``(B, num_classes)`` with the clips' ids."""
        return {"id": batch.get("id"), "probabilities": self._probabilities(batch["video"])}

    def on_train_epoch_end(self) -> None:
        """Log the accuracy on training clips."""
        self.log("train/top1", 100 * self.train_top1.compute())
        self.train_top1.reset()

    def on_validation_epoch_end(self) -> None:
        """Log the accuracies."""
        self._log_metrics(self.val_metrics, "val")

    def on_test_epoch_end(self) -> None:
        """Log the accuracies."""
        self._log_metrics(self.test_metrics, "test")

    def example_inputs(self, frames: int = 8, size: int = 112) -> tuple[Tensor]:
        """Random inputs of one clip, to list layers with."""
        return (torch.rand(1, 3, frames, size, size),)

    def _labels(self, batch: dict[str, Any]) -> Tensor:
        label: Tensor = batch["label"]
        if len(label) and int(label.max()) >= self.num_classes:
            raise AnnotationError(
                f"Label {int(label.max())} in the data, but the model has {self.num_classes} classes (0 to "
                f"{self.num_classes - 1}). Set --model.num_classes."
            )
        return label

    def _probabilities(self, video: Tensor) -> Tensor:
        """Probabilities, averaged over views where there are any."""
        scores: Tensor = self(video if video.ndim == 5 else video.flatten(0, 1))
        probabilities = scores if self._gives_probabilities else scores.softmax(-1)
        return probabilities if video.ndim == 5 else probabilities.view(*video.shape[:2], -1).mean(1)

    def _evaluate(self, batch: dict[str, Any], metrics: MetricCollection, stage: str) -> None:
        label, video = self._labels(batch), batch.get("views", batch["video"])
        known = label >= 0
        if not bool(known.all()):  # stylised videos without annotations, for instance
            label, video = label[known], video[known]
        if len(label) == 0:  # or every video of the batch was unreadable
            return
        if video.ndim == 5 and not self._gives_probabilities:
            logits = self(video)
            loss = self.loss(logits, label)
        else:
            logits = self._probabilities(video)
            loss = nn.functional.nll_loss(logits.clamp(min=1e-12).log(), label)
        metrics.update(logits, label)
        self.log(f"{stage}/loss", loss, prog_bar=stage == "val", sync_dist=True, batch_size=len(label))

    def _log_metrics(self, metrics: MetricCollection, stage: str) -> None:
        if self.trainer.world_size == 1 and not metrics[f"{stage}/top1"].update_called:
            return  # under DDP every rank takes part in the merge
        with warnings.catch_warnings():  # of ranks whose clips all have no label
            warnings.filterwarnings("ignore", message=r"The ``compute`` method of metric \w+ was called before")
            values = metrics.compute()
        counts = values.pop(f"{stage}/classes")
        accuracy = counts[:, 0] / counts[:, 4]  # true positives over clips of the class; NaN without clips
        self.class_accuracy = 100 * accuracy.cpu()
        self.class_counts = counts[:, [0, 4]].cpu()
        values[f"{stage}/class_mean"] = accuracy.nanmean()
        self.log_dict({name: 100 * value for name, value in values.items()}, prog_bar=False)
        metrics.reset()
