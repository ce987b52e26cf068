# SPDX-License-Identifier: Apache-2.0
"""StaticDropout for any LightningModule: installed from outside, re-estimated every few steps, resumed exactly."""

from __future__ import annotations

import os
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from ..errors import BatchError, OptionError
from ..metrics.correlation import merge_moments, pair_moments
from ..models.channel_selection import Sampling, ScoreTransform
from ..models.features import capture, guess_channel_dim
from ..models.layer_names import INPUT, Layer, find_layers
from ..models.static_dropout import Rescale, Score, ScoreEstimator, StaticDropoutLayer, Warmup, check_options
from ..perturbations import VideoTriplets
from ..perturbations.shuffling import shuffled_by_key
from .batches import VideoInputs
from .call_check import CallCheck
from .measuring import float64_device, refuse_sharded, traceless
from .networks import classifier_of
from .requeue import hold_back_requeue
from .thinning import Thinning

__all__ = ("StaticDropout",)


class StaticDropout(Callback):
    """Drops static channels while a video model trains (Kowal et al., Sec. 5.2).

    Every ``every_n_steps`` optimizer steps the clips of the current batch and copies of them with shuffled frames
    pass through the model; channels that answer alike to both encode statics and are dropped more often until the
    next estimate. Nothing of the LightningModule has to change, and its state dict stays as it is. With ``rate=0``
    training is bit-identical to training without the callback, and the scores are still logged.

    Where the paper speaks, the defaults are the paper's: every 30 iterations, the input of the classifier,
    temperature 1. What it leaves open is marked below and in
    :class:`~staticdropout.models.static_dropout.StaticDropoutLayer`. The published schedule ends with epochs without
    dropout: add :class:`~staticdropout.callbacks.DropoutFreeFinetune`.

    Logged at every estimate under ``static_dropout/``: mean and percentiles of the static scores; the largest over
    the smallest probability to be dropped (1 means that the rule is inactive); how often the most static tenth of the
    channels was dropped over how often the least static one was; the score of what was dropped against all; the share
    dropped; the number of channels without a score, or left out of the estimate because of NaN or infinity.

    Not for layers inside a block under activation checkpointing, which runs twice and would draw two masks.

    Args:
        rate: r, the share of channels dropped; the paper uses 0.1, 0.3, 0.5 and 0.7.
        layer: where to drop: the name of a layer, whose output is thinned, or with the suffix ``[input]`` its input.
            By default the input of the last ``nn.Linear``, the paper's place.
        every_n_steps: optimizer steps between two estimates of the scores.
        score: what is scored: ``"static"`` (the paper's), or ``"static_minus_dynamic"``, which spares channels that
            answer to both factors. The latter estimates from triplets, three forward passes instead of two.
        temperature: of the softmax over scores; the paper's is 1.
        score_transform: ``"none"`` (paper), ``"zscore"`` or ``"rank"``, applied before the softmax.
        sampling: ``"multinomial"`` (exactly ``round(r * C)`` channels, without replacement),
            ``"multinomial_replacement"``, ``"bernoulli"`` or ``"topk"``. Open in the paper.
        per_sample: a mask for every clip (default) or one for the batch. Open in the paper.
        rescale: ``"keep"`` (as ``nn.Dropout``; default), ``"inclusion"`` or ``"none"``. Open in the paper.
        estimator: ``"moments"`` (moving average; default) or ``"batch"`` (the last batch alone). Open in the paper.
        momentum: weight of the past in the moving average. Open in the paper.
        min_clips: clips to observe before scores are used. Open in the paper.
        warmup: until then ``"uniform"``, plain channel dropout (default), or ``"none"``, no dropout. Open in the paper.
        eps: smallest probability to stay that ``rescale="inclusion"`` divides by.
        probe_mode: BatchNorm while scores are estimated: ``"eval"`` (running statistics; default) or ``"train"``
            (statistics of the batch). Neither changes the running statistics. Open in the paper.
        channel_dim: where the layer's channels are; guessed by default (last for ``nn.Linear``, tokens and vectors, 1
            for other maps).
        triplets: makes the triplets of ``score="static_minus_dynamic"``; by default with the four built-in styles.
        inputs: how to read batches and call the model; guessed by default.
        seed: seed of masks and shuffles; by default the one of ``seed_everything``.

    Raises:
        ValueError: for an option out of range.
        LayerNotFoundError: when training starts, if the layer does not exist.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[StaticDropout(rate=0.3)], logger=False, enable_checkpointing=False)
    """

    def __init__(
        self,
        rate: float = 0.3,
        layer: str | None = None,
        every_n_steps: int = 30,
        score: Score = "static",
        temperature: float = 1.0,
        score_transform: ScoreTransform = "none",
        sampling: Sampling = "multinomial",
        per_sample: bool = True,
        rescale: Rescale = "keep",
        estimator: ScoreEstimator = "moments",
        momentum: float = 0.9,
        min_clips: int = 16,
        warmup: Warmup = "uniform",
        eps: float = 1e-6,
        probe_mode: Literal["eval", "train"] = "eval",
        channel_dim: int | None = None,
        triplets: VideoTriplets | None = None,
        inputs: VideoInputs | None = None,
        seed: int | None = None,
    ) -> None:
        check_options(rate, score, temperature, score_transform, sampling, rescale, estimator, momentum, warmup, eps)
        if every_n_steps < 1:
            raise OptionError(f"every_n_steps={every_n_steps} must be at least 1.")
        if probe_mode not in ("eval", "train"):
            raise OptionError(f"probe_mode={probe_mode!r} is not 'eval' or 'train'.")
        self.layer = layer
        self.every_n_steps = every_n_steps
        self.probe_mode = probe_mode
        self.channel_dim = channel_dim
        self.triplets = triplets or VideoTriplets()
        self.inputs = inputs or VideoInputs()
        self.seed = seed
        self._given_seed = seed
        self.paused = False
        """While true, nothing is dropped and nothing is estimated."""
        self.dropout: StaticDropoutLayer | None = None
        """The dropout itself: scores, moments and counters; there once training has started."""
        self._options: dict[str, Any] = {
            "rate": rate,
            "score": score,
            "temperature": temperature,
            "score_transform": score_transform,
            "sampling": sampling,
            "per_sample": per_sample,
            "rescale": rescale,
            "estimator": estimator,
            "momentum": momentum,
            "min_clips": min_clips,
            "warmup": warmup,
            "eps": eps,
        }
        self._stage = "fit"
        self._last_probe: int | None = None
        self._num_probes = 0
        self._restored: dict[str, Any] | None = None
        self._probing = False
        self._target: Layer | None = None
        self._handle: torch.utils.hooks.RemovableHandle | None = None
        self._check = CallCheck(self.inputs, "StaticDropout")

    @property
    def state_key(self) -> str:
        """Tells two StaticDropouts on two layers apart in a checkpoint."""
        return self._generate_state_key(layer=self.layer)

    def should_probe(self, step: int) -> bool:
        """Whether to re-estimate the scores before optimizer step ``step``; override for another schedule."""
        return self._last_probe is None or step - self._last_probe >= self.every_n_steps

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse what cannot work before anything is spent."""
        self._stage, self._restored = stage, None
        if stage == "fit":
            refuse_sharded(trainer, "StaticDropout")
            hold_back_requeue(trainer)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the layer and hook it before the first forward pass: later hooks do not fire in compiled models."""
        name = self.layer or f"{classifier_of(pl_module)}[{INPUT}]"
        layers = find_layers(pl_module, name)
        if len(layers) > 1:
            raise OptionError(
                f"layer={name!r} matches {len(layers)} layers; StaticDropout works on one. Add one for each."
            )
        self._target = layers[0]
        if self._restored is None and trainer.global_step == 0:
            # A new training, perhaps after another one with the same callback.
            self.dropout, self._last_probe, self._num_probes, self.seed = None, None, 0, self._given_seed
        if self.seed is None:
            self.seed = int(os.environ.get("PL_GLOBAL_SEED", torch.initial_seed() % 2**31))
        if self._restored is not None:
            self._apply_state(self._restored, trainer, pl_module)
        self._attach()
        rank_zero_info(f"StaticDropout: rate {self._options['rate']} at {self._target.name}.")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Re-estimate the static scores when it is time, before the batch is trained on."""
        if not self.paused and self.should_probe(trainer.global_step):
            self._probe(trainer, pl_module, batch)
        self._check.watch(pl_module, batch)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Warn, once, if the step called the model with something else than the estimate did."""
        self._check.finish()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave no hook behind."""
        self._detach()
        self._check.finish()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave no hook behind, also after an error or an interrupt."""
        self._detach()
        self._check.finish()

    def state_dict(self) -> dict[str, Any]:
        """Scores, moments, counters and seed, as tensors and plain values."""
        if self.dropout is None:
            return self._restored or {}
        return {
            "num_channels": self.dropout.num_channels,
            "seed": self.seed,
            "last_probe": self._last_probe,
            "num_probes": self._num_probes,
            "dropout": {name: value.cpu().clone() for name, value in self.dropout.state_dict().items()},
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state until training starts and the layer is known; other verbs than ``fit`` have no use for it."""
        self._restored = state_dict if self._stage == "fit" and state_dict.get("dropout") else None

    def _apply_state(self, state: dict[str, Any], trainer: Trainer, pl_module: LightningModule) -> None:
        scored = "static_minus_dynamic" if "dynamic_moments" in state["dropout"] else "static"
        if scored != self._options["score"]:
            raise OptionError(
                f"The checkpoint was written with StaticDropout(score={scored!r}), but score is "
                f"{self._options['score']!r}. Resume with score={scored!r}, or begin a new training from its weights."
            )
        self.seed, self._last_probe, self._num_probes = state["seed"], state["last_probe"], state["num_probes"]
        self._build(state["num_channels"], trainer, pl_module).load_state_dict(state["dropout"])
        self._restored = None

    def _build(self, num_channels: int, trainer: Trainer, pl_module: LightningModule) -> StaticDropoutLayer:
        self.dropout = StaticDropoutLayer(
            num_channels, seed=self.seed or 0, rank=trainer.global_rank, **self._options
        ).to(float64_device(pl_module.device))
        return self.dropout

    def _probe(self, trainer: Trainer, pl_module: LightningModule, batch: Any) -> None:
        """Two forward passes, of the clips and of their shuffled copies, and new scores."""
        if batch is None:
            raise BatchError(
                "StaticDropout found no batch: Lightning hands callbacks none where training_step takes a "
                "dataloader_iter. Let training_step take a batch."
            )
        assert self._target is not None  # noqa: S101 - set in on_fit_start
        video = self.inputs.find(batch)
        keys = self.inputs.keys(batch, len(video), trainer)
        self._probing = True
        try:
            with (
                traceless(trainer, pl_module, batch_statistics=self.probe_mode == "train"),
                capture(
                    pl_module, self._target.name, channel_dim=self.channel_dim, batch_size=len(video), stop_early=True
                ) as run,
            ):
                features = [
                    run(self.inputs.call, pl_module, clips, batch)[self._target.name]
                    for clips in self._copies(video, keys)
                ]
        finally:
            self._probing = False
        home = float64_device(pl_module.device)
        anchor, *others = [feature.to(home) for feature in features]
        # (1, 6, C) of the static pair, (2, 6, C) with the dynamic one
        moments = torch.cat([pair_moments(anchor, other) for other in others])[None]
        if trainer.world_size > 1:
            gathered = trainer.strategy.all_gather(moments)
            moments = gathered.view(-1, *moments.shape[1:])
        dropout = self.dropout or self._build(anchor.shape[1], trainer, pl_module)
        statistics = dropout.statistics()
        dropout.observe_moments(*merge_moments(moments))
        # What was dropped is told against the scores it was drawn from; everything else is of the new scores.
        of_masks = ("dropped_share", "dropped_ratio", "dropped_score_excess")
        statistics = dropout.statistics() | {key: statistics[key] for key in of_masks}
        dropout.reset_counts()
        self._last_probe = trainer.global_step
        self._num_probes += 1
        values = {f"static_dropout/{name}": value for name, value in statistics.items()}
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.global_step)

    def _copies(self, video: Tensor, keys: list[str]) -> tuple[Tensor, ...]:
        """The clips, copies that share their statics and, if wanted, copies that share their dynamics."""
        if self._options["score"] == "static":
            seed, time = f"{self.seed}/{self._num_probes}", self.inputs.time_dim(video)
            return video, shuffled_by_key(video, keys, seed, time)
        keys = [f"{self.seed}/{self._num_probes}/{key}" for key in keys]
        triplet = self.triplets(self.inputs.pixels(video), keys)
        return tuple(self.inputs.restore(clip, like=video) for clip in triplet)

    def _attach(self) -> None:
        assert self._target is not None  # noqa: S101 - set in on_fit_start
        self._detach()
        # A graph that was compiled in an earlier training knows nothing of the hook: let it be compiled anew.
        torch.compiler.reset()
        module = self._target.module
        if self._target.selector == INPUT:
            self._handle = module.register_forward_pre_hook(Thinning(self._thin_input), with_kwargs=True)
        elif self._target.selector is None:
            self._handle = module.register_forward_hook(Thinning(self._thin_output))
        else:
            raise OptionError(f"layer={self._target.name!r}: only a whole output or an [input] can be thinned.")

    def _detach(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    # Out of compiled graphs: it draws from a generator of its own and counts on the host.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _thin(self, module: nn.Module, x: Tensor) -> Tensor:
        if self.dropout is None or self.paused or self._probing or not module.training:
            return x
        guess = guess_channel_dim(module, x.shape)
        self.dropout.channel_dim = guess if self.channel_dim is None else self.channel_dim
        thinned: Tensor = self.dropout(x)
        return thinned

    def _thin_input(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            return (self._thin(module, args[0]), *args[1:]), kwargs
        name = next(iter(kwargs))
        return args, kwargs | {name: self._thin(module, kwargs[name])}

    def _thin_output(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if not isinstance(output, Tensor):
            raise OptionError(
                f"layer={self.layer!r} gives a {type(output).__name__}, not a tensor with channels to drop. "
                "Name a layer inside it."
            )
        return self._thin(module, output)
