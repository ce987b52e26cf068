# SPDX-License-Identifier: Apache-2.0
"""Rows of ``recovery.csv``: what was measured, and how far from the truth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from staticdropout.metrics.bias import Estimator


@dataclass(frozen=True)
class Case:
    """One row of a study: a layer, a number of clips, and how they are measured."""

    study: str
    kind: str
    units: int
    clips: int
    groups: int = 20
    grouping: str = "clip"
    threshold: float = 0.5
    estimators: tuple[Estimator, ...] = ("paper",)
    options: dict[str, Any] = field(default_factory=dict)

    def about(self) -> dict[str, Any]:
        """What identifies the case in the CSV."""
        options = ", ".join(f"{key} {value}" for key, value in self.options.items())
        same = {name: getattr(self, name) for name in ("study", "kind", "units", "clips", "groups", "grouping")}
        return {**same, "threshold": self.threshold, "options": options}


def summary(name: str, truth: Tensor | None, values: Tensor) -> dict[str, Any]:
    """A quantity over repetitions: ``values`` are ``(R, 1 + intervals)``, the estimate and half-widths."""
    estimate = values[:, 0]
    row: dict[str, Any] = {"quantity": name, "repetitions": len(values), "mean": rounded(estimate.mean())}
    if truth is None:
        return row
    error = estimate - truth
    row |= {"truth": rounded(truth), "bias": rounded(error.mean()), "rmse": rounded(error.square().mean().sqrt())}
    for label, half in zip(("", "jackknife_"), values[:, 1:].unbind(1), strict=False):
        row[f"{label}half_width"] = rounded(half.nanmean())
        row[f"{label}coverage"] = rounded(100 * (error.abs() <= half + 1e-9).double().mean())
    return row


def rounded(value: Tensor) -> float:
    """A number as the CSV has it."""
    return round(float(value), 3)
