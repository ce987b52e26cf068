# SPDX-License-Identifier: Apache-2.0
"""The metric: batches, ranks, precision, bad input."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from staticdropout.metrics import LayerBias, StaticDynamicBias, summarize

CLIPS, CHANNELS = 101, 7


def triplet_features() -> Tensor:
    generator = torch.Generator().manual_seed(5)
    common, *noise = torch.randn(4, CLIPS, CHANNELS, generator=generator)
    return torch.stack([common + 0.5 * noise[0], common + noise[1], noise[2]])


def measured(batches: list[Tensor], indices: list[Tensor] | None = None) -> LayerBias:
    metric = StaticDynamicBias(CHANNELS)
    for number, batch in enumerate(batches):
        anchor, same_static, same_dynamic = batch
        metric.update(anchor, same_static, same_dynamic, index=None if indices is None else indices[number])
    return metric.compute()


def assert_same(a: LayerBias, b: LayerBias) -> None:
    for left, right in zip(a, b, strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=1e-10)


@pytest.mark.parametrize("size", [1, 8, 50, CLIPS])
def test_any_batch_size_gives_the_same_result_and_intervals(size: int) -> None:
    features = triplet_features()
    assert_same(measured(list(torch.split(features, size, dim=1))), measured([features]))


def test_explicit_indices_make_the_order_irrelevant() -> None:
    features, order = triplet_features(), torch.randperm(CLIPS, generator=torch.Generator().manual_seed(0))
    shuffled = measured(list(torch.split(features[:, order], 9, dim=1)), list(torch.split(order, 9)))
    assert_same(shuffled, measured([features], [torch.arange(CLIPS)]))


def _rank(rank: int, world: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    features = triplet_features()
    mine = torch.arange(rank, CLIPS, world)
    metric = StaticDynamicBias(CHANNELS)
    for part in torch.split(mine, 10):
        anchor, same_static, same_dynamic = features[:, part]
        metric.update(anchor, same_static, same_dynamic, index=part)
    Path(folder, f"{rank}.pkl").write_bytes(pickle.dumps(tuple(metric.compute())))
    dist.destroy_process_group()


def test_two_ranks_agree_with_each_other_and_with_one_process(tmp_path: Path) -> None:
    mp.spawn(_rank, (2, str(tmp_path)), nprocs=2)  # type: ignore[attr-defined, no-untyped-call]
    first, second = (LayerBias(*pickle.loads((tmp_path / f"{rank}.pkl").read_bytes())) for rank in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert_same(first, measured([triplet_features()]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_features_go_in_and_float64_stays_inside(dtype: torch.dtype) -> None:
    metric = StaticDynamicBias(CHANNELS).half()
    metric.update(*triplet_features().to(dtype))
    assert metric.moments.dtype == torch.float64
    torch.testing.assert_close(metric.compute().shares, measured([triplet_features()]).shares, rtol=0, atol=0.3)


def test_memory_does_not_grow_with_clips() -> None:
    metric = StaticDynamicBias(CHANNELS)
    shape = metric.moments.shape
    for _ in range(3):
        metric.update(*triplet_features())
    assert metric.moments.shape == shape


def test_reset_forgets_and_forward_gives_the_batch() -> None:
    metric, features = StaticDynamicBias(CHANNELS), triplet_features()
    metric.update(*torch.randn(3, 20, CHANNELS))
    metric.reset()
    batch_value = metric(*features)
    assert_same(batch_value, measured([features]))
    assert_same(metric.compute(), measured([features]))


def test_pickling_keeps_the_state() -> None:
    metric = StaticDynamicBias(CHANNELS)
    metric.update(*triplet_features())
    assert_same(pickle.loads(pickle.dumps(metric)).compute(), metric.compute())


def test_summary_names_every_number() -> None:
    summary = summarize(measured([triplet_features()]))
    assert sum(summary[key] for key in ("static", "dynamic", "identical")) == pytest.approx(100)
    units = ("dynamic", "static", "joint", "residual")
    assert sum(summary[f"units_{key}"] for key in units) == pytest.approx(100)
    assert summary["num_clips"] == CLIPS
    assert summary["num_units"] == CHANNELS
    assert all(f"units_{key}_interval" in summary for key in units)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.rand(3, CHANNELS + 1), "expected shape"),
        (torch.rand(4, CHANNELS), "expected shape"),
        (torch.full((3, CHANNELS), float("nan")), "NaN or infinity"),
    ],
)
def test_bad_features_are_refused_and_name_the_side(bad: Tensor, message: str) -> None:
    good = torch.rand(3, CHANNELS)
    with pytest.raises(ValueError, match=f"same_dynamic: .*{message}"):
        StaticDynamicBias(CHANNELS).update(good, good, bad)


def test_a_layer_of_one_channel_is_measured_and_summarised() -> None:
    metric = StaticDynamicBias(1)
    metric.update(*torch.randn(3, 20, 1))
    summary = summarize(metric.compute())
    assert summary["num_units"] == 1
    assert sum(summary[f"units_{key}"] for key in ("dynamic", "static", "joint", "residual")) == 100


@pytest.mark.parametrize("options", [{"estimator": "mean"}, {"threshold": 1.0}])
def test_wrong_options_are_refused_before_anything_is_measured(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"estimator|threshold"):
        StaticDynamicBias(4, **options)


def test_sizes_must_be_positive() -> None:
    with pytest.raises(ValueError, match="must be positive"):
        StaticDynamicBias(0)
