# SPDX-License-Identifier: Apache-2.0
"""The cost of logging is taken from what BiasMonitor really calls, and its sizes from what lies on the disk."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
import torch
from cost_logging import PARTS, WIDTHS, growth, metrics_of, one_by_one, record_of, size
from parts.cost_parts import computed

from staticdropout.callbacks.bias_files import history_csv


def test_every_part_of_a_measurement_is_timed_and_what_is_kept_has_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WIDTHS, "tiny", (4, 4, 4, 4, 8))
    rows = {row["part"]: row for row in one_by_one("tiny", 1)}
    assert set(rows) >= set(PARTS) | {"estimate", "scalars: TensorBoard", "scalars: CSVLogger", "everything else"}
    assert all(row["ms"] > 0 for part, row in rows.items() if part != "everything else")
    kept = ("scalars: TensorBoard", "scalars: CSVLogger", "figures: TensorBoard", "figures: PNG", "JSON", "CSV")
    assert all(rows[part]["bytes"] > 0 for part in kept)
    # Pictures are the bulk of it.
    assert rows["figures: TensorBoard"]["bytes"] > 10 * rows["scalars: TensorBoard"]["bytes"]


def test_the_files_grow_as_the_history_does_and_the_rewritings_with_its_square() -> None:
    few, many = growth("ResNet-18", [2, 20], repeats=1)
    assert 8 < many["csv_bytes"] / few["csv_bytes"] < 11
    biases = computed(metrics_of(WIDTHS["ResNet-18"]))
    texts = [history_csv([record_of(biases, step) for step in range(count)]) for count in range(1, 21)]
    assert many["rewritten_mb"] == pytest.approx(sum(map(len, texts)) / 1e6, abs=0.06)
    assert many["checkpoint_bytes"] > 5 * few["checkpoint_bytes"]
    assert len(list(csv.reader(io.StringIO(texts[-1])))) == 1 + 20 * 5


def test_the_estimate_is_made_anew_each_time() -> None:
    metrics = metrics_of(WIDTHS["ResNet-18"], clips=20)
    first = computed(metrics)
    for metric in metrics.values():
        metric.moments = torch.roll(metric.moments, 1, dims=1)  # static and dynamic change places
    second = computed(metrics)
    assert all(torch.equal(first[name].scores.flip(0), second[name].scores) for name in first)


def test_the_size_of_a_folder_is_that_of_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "one.png").write_bytes(b"x" * 10)
    (tmp_path / "a" / "b" / "two.json").write_bytes(b"x" * 5)
    assert (size(tmp_path), size(tmp_path, "*.png")) == (15, 10)
