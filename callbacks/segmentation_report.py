# SPDX-License-Identifier: Apache-2.0
"""SegmentationReport: results of a validation or test by sequence, printed and as CSV."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from ..files import write_whole
from ..metrics import SUCCESS_THRESHOLDS, CamouflageResult, SegmentationResult
from ..metrics.camouflage_scores import OverlapScores
from ..metrics.segmentation_result import SequenceScores
from ..visualization.results_table import results_csv, results_table
from .loggers import run_folder
from .measuring import terminal

__all__ = ("SegmentationReport",)

Result = SegmentationResult | CamouflageResult
Scores = SegmentationResult | SequenceScores | CamouflageResult | OverlapScores


class SegmentationReport(Callback):
    """Prints the results by sequence at the end of ``validate``, ``test`` and ``fit``, and keeps them as CSV.

    Reads ``result`` of the LightningModule, as :class:`~staticdropout.lightning_modules.VideoObjectSegmenter` has it:
    what :class:`~staticdropout.metrics.SegmentationScores` or :class:`~staticdropout.metrics.CamouflageScores` give.
    Every validation writes ``<stage>_sequences.csv`` and ``<stage>_frames.csv``, so that those of the last one remain.

    Args:
        dirpath: folder for the files; by default ``segmentation`` in the first logger's folder, or in
            ``default_root_dir``.
        verbose: print the table.

    Example:
        >>> SegmentationReport(verbose=False).verbose
        False
    """

    def __init__(self, dirpath: str | Path | None = None, verbose: bool = True) -> None:
        self.dirpath, self.verbose = dirpath, verbose
        self._folder = Path()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Settle the folder."""
        self._folder = Path(self.dirpath or run_folder(trainer) / "segmentation")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the files; print after ``trainer.validate``."""
        if not trainer.sanity_checking:
            self._report(trainer, pl_module, "val", self.verbose and trainer.state.fn == "validate")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the files and print."""
        self._report(trainer, pl_module, "test", self.verbose)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the last validation."""
        result = getattr(pl_module, "result", None)
        if self.verbose and result is not None and trainer.is_global_zero:
            _print(result, "Last validation")

    @rank_zero_only
    def _report(self, trainer: Trainer, module: LightningModule, stage: str, verbose: bool) -> None:
        result = getattr(module, "result", None)
        if result is None:
            return
        if verbose:
            _print(result, "Results")
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        try:
            write_whole(self._folder / f"{stage}_sequences.csv", results_csv([*_rows(result), _row("mean", result)]))
            write_whole(self._folder / f"{stage}_frames.csv", results_csv([f._asdict() for f in result.frames]))
        except OSError as error:
            rank_zero_warn(f"The results could not be written to {self._folder}: {error}.")


def _print(result: Result, title: str) -> None:
    numbers = "J and F of DAVIS, first and last frame of a sequence left out"
    if isinstance(result, CamouflageResult):
        numbers = "overlap of boxes on MoCA"
    caption = f"{numbers}; {result.num_frames} frames; in percent"
    if result.missing:
        count = sum(map(len, result.missing.values()))
        caption += f". Not a benchmark result: {count} frames of {len(result.missing)} sequences were not predicted"
    terminal().print(results_table(_rows(result), _row("mean", result), title, caption))


def _rows(result: Result) -> list[dict[str, str | float]]:
    return [_row(name, scores) for name, scores in result.sequences.items()]


def _row(name: str, scores: Scores) -> dict[str, str | float]:
    row: dict[str, str | float] = {"sequence": name}
    if isinstance(scores, SegmentationResult | SequenceScores):
        columns = ("J mean", "J recall", "J decay", "F mean", "F recall", "F decay", "J&F mean")
        row |= dict(zip(columns, scores[:7], strict=True))
    else:
        rates = {f"success {tau}": r for tau, r in zip(SUCCESS_THRESHOLDS, scores.success_rates, strict=True)}
        row |= {"mIoU": scores.mean_iou, "success mean": scores.mean_success_rate, **rates}
    return row | {"frames": scores.num_frames}
