# SPDX-License-Identifier: Apache-2.0
"""Train a network that paints a clip as one to four of its frames were painted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Adam, Optimizer

from ..callbacks.random_state import RandomState
from ..errors import BatchError, OptionError
from ..models.stylization import PatchDiscriminator, PatchGenerator, PerceptualDistance

__all__ = ("FewShotStylizer",)

_LOOK_EVERY = 50  # steps; looking waits for the device


class FewShotStylizer(LightningModule):
    """Few-shot patch-based training (Texler et al., ACM TOG 39(4), 2020): a generator learns from patches of keyframes.

    Every batch the discriminator takes a step, then the generator. The generator's loss is ``4 L1 + 6 P + 0.5 A``: L1
    to the painted patch; P, the mean squared difference of VGG19 features; A, the least-squares GAN loss, (D(G(x)) -
    1)^2. The discriminator's is D(G(x))^2 + (D(y) - 1)^2, where y is a patch from anywhere in the painting. Both are
    trained with Adam, constant learning rate 4e-4, weight decay 1e-5. These are the settings of the official
    ``reference_P.yaml``.

    Two differences from the official ``trainers.py``. The generator runs once a batch, not twice: its weights do not
    change between the two uses, so that the output is the same, and only the running statistics of BatchNorm move once
    where the official ones move twice. And the perceptual loss P is off unless ``perceptual`` gives weights of VGG19:
    nothing is downloaded unasked.

    Batches are those of :class:`~staticdropout.datamodules.KeyframeDataModule`: ``input`` ``(B, in_channels, h, w)``,
    ``target`` and ``reference`` ``(B, 3, h, w)``, floats in [-1, 1]. One batch is one step of the Trainer, although
    two optimizers step. Training is on one device.

    Logged: ``train/l1``, ``train/perceptual`` (with weights), ``train/adversarial``, ``train/discriminator``, and
    ``val/l1`` on the keyframes, whole. A validation step returns ``id``, ``input``, ``styled`` and, for keyframes,
    ``target``.

    A checkpoint is a style: ``--styles my.ckpt``. It holds generator and discriminator; the VGG19 is not saved. A
    training whose weights are no longer finite numbers stops with an error, at every 50th step and before a checkpoint,
    so that none ever holds such weights.

    Args:
        perceptual: weights of VGG19 for the perceptual loss: a file, or ``"timm"`` to let timm download its own (548
            MB). None: no perceptual loss.
        l1_weight: weight of L1.
        perceptual_weight: weight of the perceptual loss.
        adversarial_weight: weight of the GAN loss; 0 trains without a discriminator.
        learning_rate: of both networks.
        weight_decay: of both networks.
        blocks: residual blocks of the generator.
        filters: channels of the generator's stages.
        discriminator_filters: channels of the discriminator's first stage.
        prefilter: whether a clip's noise is filtered out before it is styled; None: as the data says.
        guide_sigmas: sigmas of the guide images that the generator gets with a frame; those of the data.
        guide_radius: distance of their spots in pixels.

    Raises:
        OptionError: for an option out of range.

    Example:
        >>> module = FewShotStylizer(blocks=1, filters=(4, 4, 4, 4, 4, 4))
        >>> module(torch.zeros(1, 3, 16, 16)).shape
        torch.Size([1, 3, 16, 16])
    """

    def __init__(
        self,
        perceptual: str | None = None,
        l1_weight: float = 4.0,
        perceptual_weight: float = 6.0,
        adversarial_weight: float = 0.5,
        learning_rate: float = 4e-4,
        weight_decay: float = 1e-5,
        blocks: int = 7,
        filters: Sequence[int] = (32, 64, 128, 128, 128, 64),
        discriminator_filters: int = 12,
        prefilter: bool | None = None,
        guide_sigmas: Sequence[float] = (),
        guide_radius: float = 10,
    ) -> None:
        super().__init__()
        filters, guide_sigmas = [int(width) for width in filters], [float(sigma) for sigma in guide_sigmas]
        guide_radius = float(guide_radius)
        self.save_hyperparameters()
        self.hparams["in_channels"] = 3 + 3 * len(guide_sigmas)
        weights = {"l1": l1_weight, "perceptual": perceptual_weight, "adversarial": adversarial_weight}
        for name, weight in weights.items():
            if weight < 0:
                raise OptionError(f"{name}_weight must not be negative; got {weight}.")
        if learning_rate <= 0 or weight_decay < 0:
            raise OptionError(f"learning_rate={learning_rate} must be above 0, weight_decay={weight_decay} at least 0.")
        self.weights = weights
        self.automatic_optimization = False
        self.generator = PatchGenerator(self.hparams["in_channels"], blocks, tuple(filters))
        self.discriminator = PatchDiscriminator(discriminator_filters)
        self._perceptual: list[PerceptualDistance] = []  # in a list, so that it is no part of checkpoints
        self.train()  # Lightning keeps the modes that it finds

    def configure_callbacks(self) -> list[Callback]:
        """Keep random states in checkpoints."""
        return [RandomState()]

    def configure_optimizers(self) -> list[Optimizer]:
        """Adam for the generator, Adam for the discriminator."""
        options = {"lr": self.hparams["learning_rate"], "weight_decay": self.hparams["weight_decay"]}
        return [Adam(network.parameters(), **options) for network in (self.generator, self.discriminator)]

    def setup(self, stage: str) -> None:
        """Compare with the data module, and load the perceptual network before a training.

        Raises:
            OptionError: module and data module were told different things, or training has several devices.
            CheckpointError: the weights of VGG19 cannot be read.
        """
        self._agree_with(getattr(self.trainer, "datamodule", None))
        if stage == "fit" and self.trainer.world_size > 1:
            raise OptionError(
                f"A style is trained on one device, and the Trainer has {self.trainer.world_size}. The networks are "
                "small, and two optimizers take turns: set --trainer.devices 1."
            )
        if stage != "fit" or not self.weights["perceptual"]:
            return
        weights = self.hparams["perceptual"]
        if weights is None:
            rank_zero_info(
                "The perceptual loss is off: it needs the weights of VGG19, and nothing is downloaded unasked. "
                "Training goes on with L1 and the discriminator. For the loss of the paper give a file with perceptual "
                "(--model.perceptual vgg19.pth; for `staticdropout styles train`: --perceptual vgg19.pth), or timm to "
                "let timm download its own (548 MB)."
            )
        elif not self._perceptual:
            self._perceptual.append(PerceptualDistance(weights))

    def _agree_with(self, data: Any) -> None:
        names = {"guide_sigmas": "guides", "guide_radius": "guide_radius", "prefilter": "prefilter"}
        for mine, theirs in names.items():
            given, own = getattr(data, theirs, None), self.hparams[mine]
            if given is None or (mine == "guide_radius" and not self.hparams["guide_sigmas"]):
                continue
            if mine == "prefilter" and own is None:
                self.hparams[mine] = given
            elif own != given:
                raise OptionError(
                    f"{mine} is {own!r} in the model and {given!r} in the data; both have to be the same. Set "
                    f"--data.{theirs} or --model.{mine}."
                )

    def on_fit_start(self) -> None:
        """Bring the perceptual network to the device."""
        for network in self._perceptual:
            network.to(self.device)

    def forward(self, pictures: Tensor) -> Tensor:
        """Paint frames ``(B, in_channels, H, W)`` in [-1, 1]; returns ``(B, 3, H, W)`` in [-1, 1]."""
        painted: Tensor = self.generator(pictures)
        return painted

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """A step of the discriminator, then one of the generator."""
        self._check(batch)
        generator_optimizer, discriminator_optimizer = cast("list[LightningOptimizer]", self.optimizers())
        painted = self(batch["input"])
        logged: dict[str, Tensor] = {}
        if self.weights["adversarial"]:
            fake, real = self.discriminator(painted.detach()), self.discriminator(batch["reference"])
            loss = fake.square().mean() + (real - 1).square().mean()
            discriminator_optimizer.zero_grad()
            self.manual_backward(loss)
            # Beside Lightning's counter: a step of the Trainer is one of the generator.
            self.trainer.strategy.optimizer_step(discriminator_optimizer.optimizer, lambda: None)
            logged["discriminator"] = loss.detach()

        self.toggle_optimizer(generator_optimizer)
        losses = self._losses(painted, batch["target"])
        generator_optimizer.zero_grad()
        self.manual_backward(torch.stack([self.weights[name] * value for name, value in losses.items()]).sum())
        generator_optimizer.step()
        self.untoggle_optimizer(generator_optimizer)

        logged |= {name: value.detach() for name, value in losses.items()}
        self.log_dict({f"train/{name}": value for name, value in logged.items()}, batch_size=len(painted))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop a training that has diverged.

        Raises:
            OptionError: weights are no finite numbers.
        """
        if self.trainer.global_step % _LOOK_EVERY == 0:
            self._refuse_infinite()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep weights that are no numbers from taking the place of good ones.

        Raises:
            OptionError: weights are no finite numbers.
        """
        self._refuse_infinite()

    @torch.no_grad()
    def _refuse_infinite(self) -> None:
        numbers = [value for value in self.state_dict().values() if value.is_floating_point()]
        if not bool(torch.stack([value.isfinite().all() for value in numbers]).all()):
            raise OptionError(
                f"The training has diverged: by step {self.trainer.global_step} weights are no finite numbers any "
                f"more, and nothing was saved of it. Set a lower learning_rate than {self.hparams['learning_rate']:g} "
                "(4e-4 is the paper's) and start anew (--resume false)"
                + (", or train in precision 32-true." if self.trainer.precision != "32-true" else ".")
            )

    def _losses(self, painted: Tensor, target: Tensor) -> dict[str, Tensor]:
        losses = {"l1": F.l1_loss(painted, target)}
        for network in self._perceptual:
            losses["perceptual"] = network(painted, target)
        if self.weights["adversarial"]:
            losses["adversarial"] = (self.discriminator(painted) - 1).square().mean()
        return losses

    def _check(self, batch: Any) -> None:
        found = sorted(batch) if isinstance(batch, dict) else type(batch).__name__
        if not isinstance(batch, dict) or not {"input", "target", "reference"} <= batch.keys():
            raise BatchError(f"Expected a batch with the keys input, target and reference, found {found}.")
        channels = batch["input"].shape[1]
        if channels != self.hparams["in_channels"]:
            raise BatchError(
                f"The batch has {channels} channels, the network takes {self.hparams['in_channels']}: 3, and 3 for "
                "each guide image. Give the module the guide_sigmas of the data's guides."
            )

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        """Paint whole frames; L1 where they are keyframes."""
        styled = self(batch["input"])
        if "target" in batch:
            l1 = F.l1_loss(styled, batch["target"])
            self.log("val/l1", l1, prog_bar=True, batch_size=len(styled), sync_dist=True)
        return batch | {"styled": styled}
