# SPDX-License-Identifier: Apache-2.0
"""BiasMonitor: static and dynamic bias of any video model as curves, while it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from ..errors import OptionError
from ..metrics import LayerBias, summarize
from ..metrics.bias import Estimator, check_estimator
from ..perturbations import FlowTriplets, TripletFunction, VideoTriplets
from .batches import VideoInputs
from .bias_measurement import BiasMeasurement
from .bias_publisher import BiasPublisher
from .bias_schedule import BiasSchedule
from .call_check import CallCheck
from .loggers import bias_scalars, bias_shares, run_folder
from .measure_identity import differences, measure_of
from .measurement import GroupBy, Measurement
from .measuring import refuse_sharded
from .monitored_layers import monitored_layers, read_layer_option
from .pair_measurement import PairMeasurement
from .prepared_pairs import as_measured, pair_protocol
from .requeue import hold_back_requeue
from .static_dropout import StaticDropout
from .validation_reading import averaged_weights, dataset_length, validation_batches

__all__ = ("BiasMonitor",)


class BiasMonitor(Callback):
    """Measures how much of each layer is static and how much dynamic while a model trains (Kowal et al., Sec. 3).

    Rides on the validation loop that exists: the first ``num_clips`` validation clips pass through the model three
    more times, as triplets (a stylized clip, the same frames shuffled, the same clip in another style), which gives
    both factors at all layers. Also measures once before training starts, and ``trainer.validate(...)`` measures a
    trained model with no further code. The same clips get the same triplets every time, so two points of a curve
    differ by the model alone. Training is not changed: weights are bit-identical with and without the callback.

    Where the data module makes pairs itself, by the sampling of the authors' code on stylised frames (it says so by an
    attribute ``pair_protocol``), these are measured instead, all that the loader gives: two passes a pair, one result
    a seed, of which the mean is reported with the authors' interval over seeds. See ``docs/protocol.md``.

    Writes scalars to every logger; on TensorBoard a *Custom Scalars* page with static and dynamic of a layer in one
    chart (from two small runs, ``static`` and ``dynamic``, inside the training's own), figures, and a text that says
    what the numbers mean; and, in a folder ``bias`` beside the logs, ``bias.csv``, one JSON a measurement with the
    scores of every unit, and the figures as PNG (``curves``, ``layers``, ``encodings``, ``encoding_curves``,
    ``units``, ``triplets``).
    ``callback_metrics`` has ``bias/<layer>/static`` and ``bias/<layer>/dynamic`` for ModelCheckpoint and
    EarlyStopping. The last measurement is printed as a table at the end.

    What the numbers do not mean: contours survive every style, so shape counts as dynamic as well; the scores are
    correlations, a lower bound on shared information; and numbers from different styles, estimators or clips cannot
    be compared. All of this is in every file, and the figures join only points that were measured alike.

    Args:
        layers: names of the layers, globs allowed (``"backbone.layer*"``); see
            :mod:`staticdropout.models.layer_names`. ``"paper"``: the layers that the papers analyse, under the names of
            their figures, for the models of this package (see :func:`staticdropout.models.analysis_layers`). A mapping
            names layers of your own: ``{"stage1": "backbone.layer1"}``. By default the input of the last
            ``nn.Linear``, where StaticDropout acts.
        num_clips: how many validation clips to measure, over all ranks; pairs of the data module are all measured.
        triplets: makes the triplets; by default the pairs of the data module where it makes any, otherwise
            :class:`~staticdropout.perturbations.VideoTriplets` with four built-in styles. For models of several
            inputs, a function of the batch that returns a triplet of what the model is called with.
        estimator: ``"paper"`` (Eq. 1 and 2 as printed) or ``"released"`` (as the authors' code computes them).
        threshold: λ, above which a unit encodes a factor; the paper's is 0.5.
        num_groups: groups of clips for the 95 % intervals.
        group_by: ``"clip"`` spreads single clips over the groups; ``"video"`` keeps clips of one video together, those
            whose ids agree up to the last ``/``: intervals are too narrow where clips of one video stand in several
            groups. By default ``"video"`` for ``FlowTriplets``, whose clips are frames, where the batch has ids, and
            ``"clip"`` otherwise.
        every_n_validations: measure in every n-th validation of a training.
        measure_at_start: measure once before the first training step.
        figures: draw figures, for the loggers and as files.
        dirpath: folder for the files; by default ``bias`` in the first logger's folder, or in ``default_root_dir``.
        channel_dim: where the layers' channels are; guessed by default (last for ``nn.Linear``, tokens and vectors, 1
            for other maps).
        dataloader_idx: which validation loader to ride on.
        inputs: how to read batches and call the model; guessed by default.
        verbose: print the table at the end.
        name: of the folder, and part of every tag. Two monitors in one Trainer need two names.

    Raises:
        ValueError: for an option out of range.
        LayerNotFoundError: when the loop starts, if a pattern matches no layer.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> monitor = BiasMonitor(layers=["backbone.layer*"], num_clips=500)
        >>> trainer = Trainer(callbacks=[monitor], logger=False, enable_checkpointing=False)
    """

    def __init__(
        self,
        layers: str | Sequence[str] | Mapping[str, str] | None = None,
        num_clips: int = 1000,
        triplets: VideoTriplets | FlowTriplets | TripletFunction | None = None,
        estimator: Estimator = "paper",
        threshold: float = 0.5,
        num_groups: int = 20,
        group_by: GroupBy | None = None,
        every_n_validations: int = 1,
        measure_at_start: bool = True,
        figures: bool = True,
        dirpath: str | Path | None = None,
        channel_dim: int | None = None,
        dataloader_idx: int = 0,
        inputs: VideoInputs | None = None,
        verbose: bool = True,
        name: str = "bias",
    ) -> None:
        counts = {"num_clips": num_clips, "num_groups": num_groups, "every_n_validations": every_n_validations}
        for option, value in counts.items():
            if value < 1:
                raise OptionError(f"{option}={value} must be at least 1.")
        check_estimator(estimator, threshold)
        if group_by not in (None, *get_args(GroupBy)):
            raise OptionError(f"group_by={group_by!r} is not one of {', '.join(map(repr, get_args(GroupBy)))}.")
        if dataloader_idx < 0:
            raise OptionError(f"dataloader_idx={dataloader_idx} must not be negative.")
        self.layers = read_layer_option(layers)
        self.num_clips = num_clips
        self.triplets = triplets or VideoTriplets()
        self._takes_pairs = triplets is None
        self.estimator: Estimator = estimator
        self.threshold = threshold
        self.num_groups = num_groups
        self.group_by = group_by
        self.every_n_validations = every_n_validations
        self.measure_at_start = measure_at_start
        self.figures = figures
        self.dirpath = dirpath
        self.channel_dim = channel_dim
        self.dataloader_idx = dataloader_idx
        self.inputs = inputs or VideoInputs()
        self.verbose = verbose
        self.name = name
        self.history: list[dict[str, Any]] = []
        """All measurements so far: step, epoch, stage, and the numbers of each layer."""
        self.latest: dict[str, LayerBias] = {}
        """The last measurement in full, by layer."""
        self._stage = "fit"
        self._schedule = BiasSchedule()
        self._measurement: Measurement | None = None
        self._protocol: dict[str, Any] | None = None  # of the data module, where it makes pairs
        self._grouped_by: GroupBy | None = None  # of the last measurement
        self._check = CallCheck(self.inputs, "BiasMonitor")
        self._publisher: BiasPublisher | None = None  # on rank 0

    @property
    def state_key(self) -> str:
        """Tells monitors of different names apart in a checkpoint; Lightning refuses two of one name."""
        return self._generate_state_key(name=self.name)

    @property
    def settings(self) -> dict[str, Any]:
        """What a number has to be quoted with; before the first measurement, as far as it is known."""
        groups = f"95 %, over {self.num_groups} groups of {self._grouped_by or self.group_by or 'clip'}s"
        common = {"estimator": self.estimator, "threshold": self.threshold}
        if self._protocol is not None:
            seeds = self._protocol.get("seeds", ())
            over = f"1.96 population deviations / sqrt({len(seeds)}), over seeds" if len(seeds) > 1 else groups
            return {**common, "interval": over, **self._protocol}
        described = getattr(self.triplets, "description", {"triplets": getattr(self.triplets, "__name__", "custom")})
        return {**common, "num_clips": self.num_clips, "interval": groups, **described}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse what cannot work, and settle the folder on all ranks."""
        self._stage = stage
        self._protocol = pair_protocol(trainer) if self._takes_pairs else None
        self._schedule.set_up()
        if stage in ("fit", "validate"):
            refuse_sharded(trainer, "BiasMonitor")
            folder = Path(self.dirpath or run_folder(trainer) / self.name)
            dry = bool(getattr(trainer, "fast_dev_run", False))
            if trainer.is_global_zero:
                self._publisher = BiasPublisher(self.name, folder, self.settings, self.figures, dry)
        if stage == "fit":
            hold_back_requeue(trainer)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the layers' names before anything is spent, and begin new curves with a new training."""
        if self._schedule.begin(trainer):
            self.history = []
        self._layers_of(pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the model before it is trained."""
        if not trainer.enable_validation:
            rank_zero_warn(
                "BiasMonitor measures in the validation loop, but this training has none: no bias is measured."
            )
        elif self.measure_at_start and not self.history and trainer.global_step == 0:
            self._measure_outside_validation(trainer, pl_module, "Measuring bias before training")
        self._catch_up(trainer, pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Note the epoch, for checkpoints."""
        self._schedule.begin_step(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note whether a validation follows, for checkpoints."""
        self._schedule.end_step(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin a measurement, unless this is the sanity check or not its turn."""
        wanted = self._schedule.wants(trainer, self.every_n_validations)
        self._measurement = self._new_measurement(trainer, pl_module) if wanted else None

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Look at how the project itself calls its model; once."""
        if dataloader_idx == self.dataloader_idx and isinstance(self.triplets, VideoTriplets) and not self._protocol:
            self._check.watch(pl_module, batch)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Measure the batch, as long as clips are wanted."""
        self._check.finish()
        measurement = self._measurement if dataloader_idx == self.dataloader_idx else None
        if measurement is not None and measurement.wants_more(trainer.world_size):
            measurement.add(trainer, pl_module, batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Merge the ranks, publish and write the measurement."""
        measured = self._measurement is not None and self._finish(trainer, pl_module)
        # In a fit the last values stand until the next ones, also after a resume: others watch them.
        if measured or (self.history and trainer.state.fn == "fit" and not trainer.sanity_checking):
            shares = bias_shares(self.history[-1]["layers"], self.name)
            pl_module.log_dict(shares, logger=False, rank_zero_only=False, sync_dist=False)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the last measurement."""
        if self._schedule.may_have_missed:
            # A training that was resumed at its very end does not start again. The model has left its device by now.
            home = pl_module.device
            pl_module.to(trainer.strategy.root_device)
            try:
                self._catch_up(trainer, pl_module)
            finally:
                pl_module.to(home)
        self._close(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count the validation; print the measurement of ``trainer.validate``."""
        if trainer.state.fn == "validate":
            self._close(trainer)
        else:
            self._schedule.end_validation(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Drop the measurement that was under way; all finished ones are on disk."""
        self._check.finish()
        self._measurement = None
        if self._publisher is not None:
            self._publisher.write()

    def state_dict(self) -> dict[str, Any]:
        """The measurements so far, as plain values."""
        # A copy of the list: a checkpoint may be written later, by another thread.
        return {"history": list(self.history), **self._schedule.state_dict()}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the checkpoint's step and epoch: ``trainer.validate`` does not restore them."""
        self._schedule.read_checkpoint(checkpoint)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the curves of the interrupted run; a validated checkpoint adds to curves only where none are."""
        if self._stage == "fit" or (self._stage == "validate" and not self.history):
            self.history = list(state_dict["history"])
            self._schedule.load_state_dict(state_dict, resumed=self._stage == "fit")

    def _layers_of(self, module: LightningModule) -> dict[str, str]:
        """Names of the layers in charts, and in the module."""
        return monitored_layers(module, self.layers)

    def _new_measurement(self, trainer: Trainer, module: LightningModule) -> Measurement:
        options = self.channel_dim, self.estimator, self.threshold, self.num_groups, self.group_by
        layers = list(dict.fromkeys(self._layers_of(module).values()))
        length = dataset_length(trainer, self.dataloader_idx)
        if self._protocol is not None:
            first_only = "units_of_first_seed" in self._protocol.get("oddities", ())
            apart = bool(self._protocol.get("frames_apart", False))
            return PairMeasurement(layers, self.inputs, length, *options, first_only, apart)
        num_clips = self.num_clips if length is None else min(self.num_clips, length)
        return BiasMeasurement(layers, self.triplets, self.inputs, num_clips, *options)

    def _catch_up(self, trainer: Trainer, module: LightningModule) -> None:
        """Make up for the measurement of a validation that a resume has left out."""
        if not self._schedule.missed(trainer):
            return
        if self._schedule.has_turn(self.every_n_validations):
            with averaged_weights(trainer, module):
                self._measure_outside_validation(trainer, module, "Measuring bias", self._schedule.epoch)
        self._schedule.make_up(trainer)

    def _measure_outside_validation(
        self, trainer: Trainer, module: LightningModule, title: str, epoch: int | None = None
    ) -> None:
        """One pass over the first validation batches, as the validation loop would give them."""
        try:
            with validation_batches(trainer, module, self.dataloader_idx) as batches:
                self._measurement = self._new_measurement(trainer, module)
                self._measurement.add_all(trainer, module, batches, title)
                self._finish(trainer, module, epoch)
        finally:
            self._measurement = None

    def _finish(self, trainer: Trainer, module: LightningModule, epoch: int | None = None) -> bool:
        """Merge the ranks and publish; whether there is something to publish."""
        assert self._measurement is not None  # noqa: S101 - checked by the callers
        measurement, self._measurement = self._measurement, None
        found = measurement.conclude(trainer, module)
        if not found:
            return False
        if self._protocol is not None and isinstance(measurement, PairMeasurement):
            self._protocol |= as_measured(self._protocol, measurement.measured)
        names = self._layers_of(trainer.lightning_module)
        biases = {name: found[layer] for name, layer in names.items()}
        numbers = {layer: summarize(bias) for layer, bias in biases.items()}
        self._grouped_by = measurement.grouped_by
        record = {**self._schedule.point(trainer, epoch), "measure": measure_of(self.settings), "layers": numbers}
        self.latest = {layer: LayerBias(*(part.cpu() for part in bias)) for layer, bias in biases.items()}
        changed = differences(self.history[-1], record) if self.history else []
        if changed:
            rank_zero_warn(
                f"This bias cannot be compared with the last one, which was measured otherwise ({'; '.join(changed)}). "
                "The figures begin anew, and bias.csv says of every row how it was measured; loggers go on in the same "
                "curves, so use another name (BiasMonitor(name=...)) or another run to tell them apart there."
            )
        self.history.append(record)
        for logger in trainer.loggers:
            logger.log_metrics(bias_scalars(numbers, self.name), step=record["step"])
        if self._publisher is not None:
            renamed = {name: layer for name, layer in names.items() if name != layer}
            self._publisher.settings = {**self.settings, "layers": renamed} if renamed else self.settings
            pages = {monitor.name: list(monitor._layers_of(trainer.lightning_module)) for monitor in _monitors(trainer)}
            dropping = any(isinstance(callback, StaticDropout) for callback in trainer.callbacks)  # type: ignore[attr-defined]
            self._publisher.publish(trainer.loggers, pages, self.history, self.latest, measurement.picture, dropping)
        return True

    def _close(self, trainer: Trainer) -> None:
        """Try once more to write what is missing, and print the last measurement."""
        if self._publisher is not None:
            self._publisher.write()
            if self.verbose:
                self._publisher.print(trainer.loggers)


def _monitors(trainer: Trainer) -> list[BiasMonitor]:
    return [callback for callback in trainer.callbacks if isinstance(callback, BiasMonitor)]  # type: ignore[attr-defined]
