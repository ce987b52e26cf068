# SPDX-License-Identifier: Apache-2.0
"""The rows behind both metrics: names, copies, precision, and two processes."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from davis_reference import blob

from staticdropout.errors import BatchError
from staticdropout.metrics import CamouflageScores, SegmentationScores

LENGTH = 7


def add(metric: SegmentationScores | CamouflageScores, positions: list[int], sequence: str = "bear") -> None:
    """Frames of one sequence, drawn from their position."""
    predictions = [torch.from_numpy(blob(position, 32, 40)) for position in positions]
    names, places = [sequence] * len(positions), torch.tensor(positions, dtype=torch.int64)
    lengths = torch.full_like(places, LENGTH)
    if isinstance(metric, SegmentationScores):
        masks = [torch.from_numpy(blob(position, 32, 40, level=0.5)) for position in positions]
        metric.update(predictions, masks, names, places, lengths)
    else:
        boxes, sizes = (
            torch.tensor([[8.0, 4.0, 20.0, 20.0]] * len(positions)),
            torch.tensor([[32, 40]] * len(positions)),
        )
        metric.update(predictions, boxes.view(-1, 4), sizes.view(-1, 2), names, places % 3, places, lengths)


METRICS = [SegmentationScores, CamouflageScores]


@pytest.mark.parametrize("kind", METRICS)
def test_names_may_hold_any_letters_but_not_too_many(kind: type[Any]) -> None:
    metric = kind()
    add(metric, [2], "vidéo/Bär 🐻")
    assert list(metric.compute().sequences) == ["vidéo/Bär 🐻"]
    add(metric, [2], "x" * 128)
    assert "x" * 128 in metric.compute().sequences
    with pytest.raises(BatchError, match="longer than 128 bytes"):
        add(metric, [2], "x" * 129)


@pytest.mark.parametrize("kind", METRICS)
def test_an_empty_batch_adds_nothing(kind: type[Any]) -> None:
    metric, other = kind(), kind()
    for each, batches in ((metric, [[1, 2], [], [3]]), (other, [[1, 2, 3]])):
        for batch in batches:
            add(each, batch)
    assert metric.compute() == other.compute()


@pytest.mark.parametrize("kind", METRICS)
def test_the_state_survives_pickling_and_half_precision(kind: type[Any]) -> None:
    metric = kind()
    add(metric, [1, 2])
    copy = pickle.loads(pickle.dumps(metric)).half()
    for each in (metric, copy):
        add(each, [4])
    assert copy.compute() == metric.compute()
    assert copy.compute().num_frames == 3


@pytest.mark.parametrize("kind", METRICS)
def test_a_frame_given_again_has_its_latest_numbers(kind: type[Any]) -> None:
    metric = kind()
    add(metric, [1, 2])
    first = metric.compute()
    entries = [torch.zeros(32, 40, dtype=torch.bool)], ["bear"], torch.tensor([1]), torch.tensor([LENGTH])
    if kind is SegmentationScores:
        metric.update(entries[0], [torch.ones(32, 40)], *entries[1:])
    else:
        metric.update(
            entries[0], torch.ones(1, 4), torch.tensor([[32, 40]]), entries[1], torch.tensor([0]), *entries[2:]
        )
    again = metric.compute()
    assert again.num_frames == first.num_frames == 2
    assert again.frames[1] == first.frames[1]
    value = "j" if kind is SegmentationScores else "iou"
    assert getattr(first.frames[0], value) > 0 == getattr(again.frames[0], value)


def _rank(rank: int, world: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    results: list[Any] = []
    warnings.simplefilter("ignore")  # torchmetrics warns of ranks without frames, and so do we
    for kind in METRICS:
        metric = kind()
        results.append(metric.compute())  # no rank has frames
        for batch in ([0, 3, 5], [2, 3]) if rank else ([4, 1],):  # ranks differ in batches; frame 3 comes twice
            add(metric, batch)
        add(metric, [3, 2], f"of rank {rank}")
        results.append(metric.compute())
        metric.reset()
        if rank:
            add(metric, [4, 2])
        results.append(metric.compute())  # one rank has frames
    Path(folder, f"{rank}.pkl").write_bytes(pickle.dumps(results))
    dist.destroy_process_group()


def test_two_ranks_agree_with_each_other_and_with_one_process(tmp_path: Path) -> None:
    mp.spawn(_rank, (2, str(tmp_path)), nprocs=2)  # type: ignore[attr-defined, no-untyped-call]
    first, second = (pickle.loads((tmp_path / f"{rank}.pkl").read_bytes()) for rank in range(2))
    assert first == second
    for kind, (nothing, together, one_rank) in zip(METRICS, (first[:3], first[3:]), strict=True):
        assert nothing is None
        alone = kind()
        add(alone, list(range(6)))
        for rank in range(2):
            add(alone, [2, 3], f"of rank {rank}")
        assert together == alone.compute()
        alone.reset()
        add(alone, [2, 4])
        assert one_rank == alone.compute()
