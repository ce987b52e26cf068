# SPDX-License-Identifier: Apache-2.0
"""Batches: how many there are, and how large, changes what is read and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader
from toys import Clips, loaders, make_trainer, same_weights
from trainer_watch import LAYER, AtClassifier, Counted, both, in_order, names, seeded, watch


@pytest.mark.cell("a smaller last batch", "StaticDropout")
def test_the_clips_of_a_smaller_last_batch_are_probed_and_thinned(tmp_path: Path) -> None:
    watched, recorder = watch(every_n_steps=1), AtClassifier()
    make_trainer(tmp_path, [watched.dropout, recorder], max_epochs=1).fit(seeded(), in_order(20))
    assert [len(note.clips) for note in watched.probed] == [8, 8, 4]
    assert recorder.dropped == [[8] * 8, [8] * 8, [8] * 4]
    assert watched.dropout.dropout is not None
    assert int(watched.dropout.dropout.num_clips) == 20


@pytest.mark.cell("batches of one clip", "StaticDropout")
@pytest.mark.parametrize(("clips", "ready"), [(15, False), (16, True)])
def test_single_clips_add_up_to_scores(tmp_path: Path, clips: int, ready: bool) -> None:
    watched, recorder = watch(every_n_steps=1, dropout={"min_clips": 16}), AtClassifier()
    trainer = make_trainer(tmp_path, [watched.dropout, recorder], max_epochs=1)
    trainer.fit(seeded(), in_order(clips, 1))
    layer = watched.dropout.dropout
    assert layer is not None
    assert recorder.dropped == [[8]] * clips
    assert layer.ready == ready
    assert int(layer.undefined.sum()) == 0
    assert float(layer.scores.std()) > 0
    assert (layer.statistics()["inclusion_ratio"] > 1) == ready


@pytest.mark.cell("batches of one clip", "StaticDropout")
def test_the_batch_estimator_has_no_scores_from_a_single_clip(tmp_path: Path) -> None:
    watched = watch(every_n_steps=1, dropout={"min_clips": 2, "estimator": "batch"})
    make_trainer(tmp_path, [watched.dropout], max_epochs=1).fit(seeded(), in_order(4, 1))
    assert watched.dropout.dropout is not None
    statistics = watched.dropout.dropout.statistics()
    assert (statistics["undefined"], statistics["inclusion_ratio"]) == (16, 1)


@pytest.mark.cell("batches of one clip", "BiasMonitor")
def test_single_clips_give_the_bias_of_larger_batches(tmp_path: Path) -> None:
    results = []
    for batch_size in (1, 8):
        watched = watch()
        trainer = make_trainer(tmp_path, both(watched))
        trainer.validate(seeded(), in_order(24, batch_size), verbose=False)
        results.append(watched.monitor.latest[LAYER].unit_scores)
    torch.testing.assert_close(*results, rtol=0, atol=1e-5)


@pytest.mark.cell("limit_train_batches", "StaticDropout")
@pytest.mark.cell("limit_train_batches", "BiasMonitor")
@pytest.mark.cell("limit_val_batches", "StaticDropout")
@pytest.mark.cell("limit_val_batches", "BiasMonitor")
@pytest.mark.parametrize(
    ("options", "probes", "points", "clips"),
    [
        ({"limit_train_batches": 3}, [0, 2, 4], [0, 3, 6], 24),
        ({"limit_train_batches": 0.5}, [0, 2, 4], [0, 3, 6], 24),
        ({"limit_val_batches": 2}, [0, 2, 4, 6, 8, 10], [0, 6, 12], 16),
        ({"limit_val_batches": 0.34}, [0, 2, 4, 6, 8, 10], [0, 6, 12], 8),
    ],
)
def test_limits_hold_for_probes_and_measurements(
    tmp_path: Path, options: dict[str, Any], probes: list[int], points: list[int], clips: int
) -> None:
    watched = watch()
    make_trainer(tmp_path, both(watched), **options).fit(seeded(), *loaders())
    assert (watched.probes, watched.points) == (probes, points)
    assert watched.clips == [clips] * 3
    read = clips // 8
    assert [note.clips for note in watched.measured[:read]] == [names(range(8 * n, 8 * n + 8)) for n in range(read)]


@pytest.mark.cell("limit_val_batches=0", "StaticDropout")
def test_a_training_without_validation_is_probed_all_the_same(tmp_path: Path) -> None:
    watched = watch()
    make_trainer(tmp_path, [watched.dropout], limit_val_batches=0).fit(seeded(), *loaders())
    assert watched.probes == [0, 2, 4, 6, 8, 10]
    assert watched.masks == 12


@pytest.mark.cell("limit_val_batches=0", "BiasMonitor")
def test_a_training_without_validation_is_not_measured_and_says_so(tmp_path: Path) -> None:
    watched = watch()
    with pytest.warns(UserWarning, match="this training has none: no bias is measured"):
        make_trainer(tmp_path, [watched.monitor], limit_val_batches=0).fit(seeded(), *loaders())
    assert watched.points == []


@pytest.mark.cell("overfit_batches", "StaticDropout")
@pytest.mark.cell("overfit_batches", "BiasMonitor")
def test_overfitting_probes_and_measures_the_first_batches_of_both_loaders(tmp_path: Path) -> None:
    watched = watch(every_n_steps=1)
    make_trainer(tmp_path, both(watched), overfit_batches=2).fit(seeded(), *loaders())
    first, second = names(range(8)), names(range(8, 16))
    assert watched.probed == [(0, first), (1, second), (2, first), (3, second)]  # Lightning turns shuffling off
    assert watched.measured == [(step, clips) for step in (0, 2, 4) for clips in (first, second)]


@pytest.mark.cell("limit_train_batches", "BiasMonitor")
def test_no_training_batch_is_read_for_a_measurement(tmp_path: Path) -> None:
    data, watched = Counted(48), watch()
    make_trainer(tmp_path, [watched.monitor], max_epochs=1).fit(seeded(), DataLoader(data, 8), in_order(24))
    assert watched.points == [0, 6]
    assert data.read == 48


def test_all_of_this_is_bit_identical_at_rate_zero(tmp_path: Path) -> None:
    modules = []
    for callbacks in ([], both(watch(rate=0.0, every_n_steps=1))):
        torch.manual_seed(1)
        module = seeded()
        trainer = make_trainer(tmp_path, callbacks, limit_train_batches=5, limit_val_batches=2)
        trainer.fit(module, DataLoader(Clips(44), 8, shuffle=True), in_order(20))
        modules.append(module)
    assert same_weights(*modules)
