# SPDX-License-Identifier: Apache-2.0
"""StaticDropout as a layer."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from torch import Generator, Tensor, nn

from staticdropout.models import StaticDropoutLayer
from staticdropout.models.static_dropout import drop_channels

CHANNELS = 40


def layer(rate: float = 0.5, scores: Tensor | None = None, **options: object) -> StaticDropoutLayer:
    """A layer that has observed clips whose static scores are close to ``scores``."""
    made = StaticDropoutLayer(CHANNELS, rate, **options)  # type: ignore[arg-type]
    if scores is not None:
        made.observe(*pairs(scores))
    return made


def pairs(scores: Tensor, clips: int = 4000, seed: int = 0) -> tuple[Tensor, Tensor]:
    common, *noise = torch.randn(3, clips, len(scores), generator=Generator().manual_seed(seed))
    a, b = (scores.sqrt() * common + (1 - scores).sqrt() * part for part in noise)
    return a, b


def spread() -> Tensor:
    return torch.linspace(0, 1, CHANNELS)


@pytest.mark.parametrize("shape", [(6, CHANNELS), (6, CHANNELS, 3, 5, 7), (6, CHANNELS, 1, 1), (1, CHANNELS, 2)])
def test_shape_and_type_stay_and_whole_channels_go(shape: tuple[int, ...]) -> None:
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        out = layer(0.5, spread())(torch.ones(shape, dtype=dtype))
        assert out.shape == shape
        assert out.dtype == dtype
        zero = (out == 0).flatten(2) if out.ndim > 2 else (out == 0).unsqueeze(2)
        assert torch.equal(zero.any(2), zero.all(2))
        assert (zero.any(2).sum(1) == CHANNELS // 2).all()


def test_channels_may_be_last() -> None:
    out = layer(0.5, spread(), channel_dim=-1)(torch.ones(4, 2, 3, CHANNELS))
    assert ((out == 0).sum(-1) == CHANNELS // 2).all()


def test_it_is_the_identity_in_eval_mode_at_rate_zero_and_on_empty_batches() -> None:
    x = torch.rand(3, CHANNELS)
    assert layer(0.5, spread()).eval()(x) is x
    assert layer(0.0, spread())(x) is x
    assert layer(0.5, spread())(x[:0]).shape == (0, CHANNELS)


def test_scores_are_the_correlation_between_clips_and_shuffled_clips() -> None:
    made = layer(0.5, spread())
    torch.testing.assert_close(made.scores.float(), spread(), atol=0.06, rtol=0)


def test_static_channels_are_dropped_more_often_as_theory_says() -> None:
    made = layer(0.5, spread())
    for _ in range(100):
        made(torch.ones(100, CHANNELS))
    observed = made.drop_counts.double() / made.drop_rows
    torch.testing.assert_close(observed, made.inclusion, rtol=0, atol=0.02 + 4 * math.sqrt(0.25 / 10_000))
    assert made.inclusion[-1] > 1.7 * made.inclusion[0]


def test_masks_differ_between_clips_unless_asked_otherwise() -> None:
    assert len({tuple(row.tolist()) for row in layer(0.5, spread())(torch.ones(20, CHANNELS))}) > 15
    assert len({tuple(row.tolist()) for row in layer(0.5, spread(), per_sample=False)(torch.ones(20, CHANNELS))}) == 1


def expected_output(made: StaticDropoutLayer, x: Tensor, weight: Tensor, passes: int = 400) -> tuple[float, float]:
    """Mean of a linear classifier's output over masks, and the standard error of that mean."""
    values = torch.cat([made(x.expand(100, -1)) @ weight for _ in range(passes)])
    return float(values.mean()), float(values.std() / math.sqrt(len(values)))


def test_rescale_inclusion_keeps_the_expected_output_whatever_the_scores() -> None:
    x, weight = spread() + 0.5, 1 + spread()  # static channels are larger and weigh more
    mean, error = expected_output(layer(0.3, spread(), rescale="inclusion"), x, weight)
    # The inclusion probabilities are a closed form within 0.02 of the truth, hence the 1 %.
    assert mean == pytest.approx(float(x @ weight), abs=4 * error + 0.01 * float(x @ weight))


def test_rescale_keep_keeps_the_expected_output_for_equal_scores_only() -> None:
    x, weight = spread() + 0.5, 1 + spread()
    mean, error = expected_output(layer(0.3), x, weight)
    assert mean == pytest.approx(float(x @ weight), abs=4 * error)
    mean, error = expected_output(layer(0.3, spread()), x, weight)
    assert mean < float(x @ weight) - 10 * error


def test_rescale_keep_divides_by_the_share_that_stays_and_none_by_nothing() -> None:
    assert layer(0.3, spread())(torch.ones(1, CHANNELS)).max() == pytest.approx(CHANNELS / (CHANNELS - 12))
    assert layer(0.3, spread(), rescale="none")(torch.ones(1, CHANNELS)).max() == 1


def test_gradients_flow_through_what_stays_alone() -> None:
    x = torch.ones(2, CHANNELS, requires_grad=True)
    out = layer(0.5, spread())(x)
    out.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, out.detach())


def test_until_enough_clips_are_seen_all_channels_are_equal() -> None:
    made = StaticDropoutLayer(CHANNELS, 0.5, min_clips=16)
    a, b = pairs(spread())
    made.observe(a[:8], b[:8])
    ready_early = made.ready
    assert not ready_early
    torch.testing.assert_close(made.inclusion, torch.full((CHANNELS,), 0.5).double())
    made.observe(a[8:16], b[8:16])
    assert made.ready
    assert made.inclusion.std() > 0


def test_the_moving_average_is_less_noisy_than_the_last_batch() -> None:
    errors = {}
    for estimator in ("moments", "batch"):
        made = StaticDropoutLayer(CHANNELS, estimator=estimator)
        a, b = pairs(spread())
        for x, y in zip(torch.split(a[:400], 8), torch.split(b[:400], 8), strict=True):
            made.observe(x, y)
        errors[estimator] = float((made.scores - spread()).square().mean().sqrt())
    assert errors["moments"] < 0.5 * errors["batch"]


def test_momentum_zero_is_the_last_batch_alone() -> None:
    made, fresh = StaticDropoutLayer(CHANNELS, momentum=0.0), StaticDropoutLayer(CHANNELS)
    made.observe(*pairs(spread(), seed=3))
    for target in (made, fresh):
        target.observe(*pairs(spread(), 50, seed=4))
    torch.testing.assert_close(made.scores, fresh.scores)


@pytest.mark.parametrize("estimator", ["moments", "batch"])
@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_an_overflow_costs_one_channel_one_observation(estimator: Any, bad: float) -> None:
    made, clean = (StaticDropoutLayer(CHANNELS, estimator=estimator) for _ in range(2))
    a, b = pairs(spread())
    broken = a[:100].clone()
    broken[3, 5] = bad
    made.observe(broken, b[:100])
    assert made.statistics()["not_finite"] == 1
    assert int(made.num_clips) == 100
    assert made.scores.isfinite().all()
    clean.observe(a[:100], b[:100])
    others = torch.arange(CHANNELS) != 5
    torch.testing.assert_close(made.scores[others], clean.scores[others])
    for layer_ in (made, clean):
        layer_.observe(a[100:], b[100:])
    assert made.statistics()["not_finite"] == 0
    assert not made.undefined.any()
    torch.testing.assert_close(made.scores, clean.scores, atol=0.05, rtol=0)


def test_before_there_are_scores_topk_draws_like_channel_dropout() -> None:
    made = StaticDropoutLayer(CHANNELS, 0.5, sampling="topk")
    rows = {tuple(row.tolist()) for row in made(torch.ones(20, CHANNELS)) == 0}
    assert len(rows) > 15
    assert {sum(row) for row in rows} == {20}
    made.observe(*pairs(spread()))
    dropped = made(torch.ones(5, CHANNELS)) == 0
    assert torch.equal(dropped, made.scores.topk(20).values.min() <= made.scores.expand(5, -1))


def test_warm_up_may_drop_nothing() -> None:
    made, x = StaticDropoutLayer(CHANNELS, 0.5, warmup="none"), torch.ones(2, CHANNELS)
    assert made(x) is x
    made.observe(*pairs(spread()))
    assert (made(x) == 0).sum() == CHANNELS


def test_dead_channels_score_zero_and_are_counted() -> None:
    a, b = pairs(spread())
    a[:, 5], b[:, 7] = 0.0, 3.0
    made = StaticDropoutLayer(CHANNELS)
    made.observe(a, b)
    assert made.scores[[5, 7]].tolist() == [0.0, 0.0]
    assert made.statistics()["undefined"] == 2


def test_statistics_tell_whether_the_rule_is_active() -> None:
    active, inactive = layer(0.5, spread()), layer(0.5, torch.full((CHANNELS,), 0.8))
    for made in (active, inactive):
        for _ in range(50):
            made(torch.ones(50, CHANNELS))
    tilted, flat = active.statistics(), inactive.statistics()
    assert tilted["dropped_share"] == flat["dropped_share"] == 0.5
    weights = spread().double().exp().numpy()
    scale = brentq(lambda c: (1 - np.exp(-c * weights)).sum() - CHANNELS // 2, 0, 10)
    expected = (1 - np.exp(-scale * weights[-1])) / (1 - np.exp(-scale * weights[0]))
    assert tilted["inclusion_ratio"] == pytest.approx(expected, rel=0.05)
    assert 1 <= flat["inclusion_ratio"] < 1.1
    tenths = 1 - np.exp(-scale * weights)  # the ends of evenly spread scores
    assert tilted["dropped_ratio"] == pytest.approx(tenths[-4:].sum() / tenths[:4].sum(), rel=0.05)
    assert flat["dropped_ratio"] == pytest.approx(1, rel=0.05)
    assert tilted["dropped_score_excess"] == pytest.approx(0.057, abs=0.015)  # the theory for U(0, 1) scores at r = 0.5
    assert abs(flat["dropped_score_excess"]) < 0.01
    assert tilted["score_p10"] < tilted["score_p50"] < tilted["score_p90"]
    active.reset_counts()
    assert active.statistics()["dropped_share"] == 0


def test_masks_are_reproducible_differ_between_ranks_and_leave_the_global_generator_alone() -> None:
    before, x = torch.get_rng_state(), torch.ones(8, CHANNELS)
    first, again, other_rank, other_seed = (
        layer(0.5, spread(), seed=seed, rank=rank) for seed, rank in ((1, 0), (1, 0), (1, 1), (2, 0))
    )
    reference = [first(x), first(x)]
    assert not torch.equal(*reference)
    assert torch.equal(again(x), reference[0])
    assert torch.equal(again(x), reference[1])
    assert not torch.equal(other_rank(x), reference[0])
    assert not torch.equal(other_seed(x), reference[0])
    assert torch.equal(before, torch.get_rng_state())


def test_a_restored_layer_draws_the_masks_that_would_have_come() -> None:
    made, x = layer(0.5, spread(), seed=4), torch.ones(8, CHANNELS)
    for _ in range(5):
        made(x)
    restored = StaticDropoutLayer(CHANNELS, 0.5, seed=4)
    restored.load_state_dict(copy.deepcopy(made.state_dict()))
    for _ in range(3):
        assert torch.equal(made(x), restored(x))
    assert torch.equal(made.inclusion, restored.inclusion)
    assert made.statistics() == restored.statistics()


def test_casting_a_model_keeps_the_moments_exact() -> None:
    made = layer(0.5, spread())
    model = nn.Sequential(nn.Linear(4, CHANNELS), made).bfloat16()
    assert made.moments.dtype == made.scores.dtype == torch.float64
    assert model(torch.ones(2, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_it_works_as_a_layer_of_a_network_under_autocast() -> None:
    model = nn.Sequential(nn.Linear(4, CHANNELS), layer(0.5, spread()), nn.Linear(CHANNELS, 2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(torch.rand(3, 4)).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


def test_drop_channels_multiplies_what_stays() -> None:
    dropped = torch.tensor([[True, False], [False, True]])
    out = drop_channels(torch.ones(2, 2, 3), dropped, torch.tensor([2.0, 3.0]))
    assert out.tolist() == [[[0.0] * 3, [3.0] * 3], [[2.0] * 3, [0.0] * 3]]


@pytest.mark.parametrize(
    "options",
    [
        {"rate": 1.0},
        {"rate": -0.1},
        {"score": "dynamic"},
        {"temperature": 0.0},
        {"sampling": "poisson"},
        {"rescale": "all"},
        {"score_transform": "log"},
        {"estimator": "median"},
        {"warmup": "cold"},
        {"momentum": 1.0},
        {"eps": 0.0},
        {"rescale": "inclusion", "sampling": "topk"},
    ],
)
def test_options_out_of_range_are_refused_by_name(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        StaticDropoutLayer(CHANNELS, **options)  # type: ignore[arg-type]


def test_static_minus_dynamic_spares_channels_that_answer_to_both() -> None:
    both, static_only = torch.ones(CHANNELS), (torch.arange(CHANNELS) < CHANNELS // 2).double()
    generator = Generator().manual_seed(1)
    clips, noise = torch.randn(2, 500, CHANNELS, generator=generator, dtype=torch.float64)
    restyled = torch.where(static_only.bool(), noise, clips)  # the second half keeps its answer in another style too
    made = StaticDropoutLayer(CHANNELS, 0.5, score="static_minus_dynamic")
    made.observe(clips, clips, restyled)
    expected = [1 - np.corrcoef(clips[:, i], restyled[:, i])[0, 1] for i in range(CHANNELS)]
    assert made.scores.numpy() == pytest.approx(np.array(expected), abs=1e-9)
    assert made.inclusion[: CHANNELS // 2].min() > 1.5 * made.inclusion[CHANNELS // 2 :].max()
    literal = layer(0.5)
    literal.observe(clips, clips * both)
    assert literal.inclusion.max() == pytest.approx(float(literal.inclusion.min()))


def test_a_channel_without_a_score_in_one_factor_has_none() -> None:
    clips = torch.randn(50, CHANNELS, generator=Generator().manual_seed(0))
    restyled = clips.clone()
    restyled[:, 0] = 1.0
    restyled[0, 1] = math.nan
    made = StaticDropoutLayer(CHANNELS, 0.5, score="static_minus_dynamic")
    made.observe(clips, clips + torch.randn(50, CHANNELS, generator=Generator().manual_seed(1)), restyled)
    assert made.undefined.nonzero().flatten().tolist() == [0, 1]
    assert made.scores[:2].tolist() == [0.0, 0.0]
    assert int(made.not_finite) == 1


def test_static_minus_dynamic_needs_both_pairs() -> None:
    with pytest.raises(ValueError, match="dynamic pairs"):
        StaticDropoutLayer(CHANNELS, 0.5, score="static_minus_dynamic").observe(*torch.rand(2, 20, CHANNELS))


def test_a_rate_too_small_for_one_channel_warns_and_does_nothing() -> None:
    with pytest.warns(UserWarning, match="less than one channel"):
        made = StaticDropoutLayer(4, 0.1)
    x = torch.rand(2, 4)
    assert made(x) is x


def test_a_wrong_number_of_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="Expected 40 channels"):
        layer(0.5)(torch.rand(2, 39))
