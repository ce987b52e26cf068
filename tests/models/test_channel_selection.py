# SPDX-License-Identifier: Apache-2.0
"""The law of the draw: exact numbers, right frequencies, limits."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Generator, Tensor

from staticdropout.models.channel_selection import (
    draw_dropped,
    inclusion_probability,
    num_dropped,
    selection_logits,
)

CHANNELS, DRAWS = 64, 20_000


def spread_scores() -> Tensor:
    return torch.rand(CHANNELS, generator=Generator().manual_seed(0))


def frequencies(logits: Tensor, count: int, sampling: str) -> Tensor:
    generator = Generator().manual_seed(1)
    return draw_dropped(logits, DRAWS, count, sampling, generator).double().mean(0)  # type: ignore[arg-type]


def sequential_draws(weights: np.ndarray, count: int, draws: int) -> np.ndarray:
    """Independent reference: draw one channel after the other from what is left."""
    generator = np.random.default_rng(2)
    hits = np.zeros(len(weights))
    for _ in range(draws):
        hits[generator.choice(len(weights), count, replace=False, p=weights)] += 1
    return hits / draws


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.7])
@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_inclusion_frequencies_match_theory(rate: float, temperature: float) -> None:
    logits = selection_logits(spread_scores(), temperature)
    count = num_dropped(CHANNELS, rate)
    theory = inclusion_probability(logits, count)
    assert float(theory.sum()) == pytest.approx(count, abs=1e-6)
    # 0.014 is 4 standard deviations of the frequency; the closed form itself is within 0.02 of the truth.
    torch.testing.assert_close(frequencies(logits, count, "multinomial"), theory, rtol=0, atol=0.014 + 0.02)


def test_frequencies_are_those_of_sequential_draws_without_replacement() -> None:
    logits = selection_logits(spread_scores(), 0.3)
    reference = sequential_draws(logits.double().softmax(0).numpy(), 20, 8000)
    np.testing.assert_allclose(frequencies(logits, 20, "multinomial"), reference, atol=4 * math.sqrt(0.25 / 8000))


@pytest.mark.parametrize("sampling", ["multinomial_replacement", "bernoulli"])
def test_the_other_random_laws_match_their_exact_probabilities(sampling: str) -> None:
    logits = selection_logits(spread_scores(), 0.5)
    theory = inclusion_probability(logits, 20, sampling)  # type: ignore[arg-type]
    torch.testing.assert_close(frequencies(logits, 20, sampling), theory, rtol=0, atol=0.016)


@pytest.mark.parametrize("sampling", ["multinomial", "topk"])
@pytest.mark.parametrize("count", [1, 19, 63])
def test_exactly_k_channels_are_dropped_in_every_row(sampling: str, count: int) -> None:
    dropped = draw_dropped(spread_scores(), 500, count, sampling, Generator().manual_seed(0))  # type: ignore[arg-type]
    assert (dropped.sum(1) == count).all()


def test_replacement_drops_fewer_channels() -> None:
    dropped = draw_dropped(torch.zeros(512), 400, 256, "multinomial_replacement", Generator().manual_seed(0))
    assert float(dropped.float().mean()) == pytest.approx(1 - math.exp(-0.5), abs=0.01)


def test_equal_scores_are_channel_dropout() -> None:
    counts = frequencies(torch.full((CHANNELS,), 0.7), 20, "multinomial") * DRAWS
    # Exactly 20 of 64 in every row: the counts vary less than independent ones by the factor (1 - 20/64).
    chi_square = (
        float(((counts - DRAWS * 20 / 64) ** 2).sum() / (DRAWS * 20 / 64 * (1 - 20 / 64))) * (CHANNELS - 1) / CHANNELS
    )
    assert 0.001 < stats.chi2.sf(chi_square, CHANNELS - 1) < 0.999


@pytest.mark.parametrize("transform", ["none", "zscore", "rank"])
def test_equal_scores_stay_equal_and_finite_under_every_transform(transform: str) -> None:
    logits = selection_logits(torch.full((9,), 0.4), 0.1, transform)  # type: ignore[arg-type]
    assert (logits == logits[0]).all()
    assert logits.isfinite().all()


def test_zscore_and_rank_do_not_depend_on_the_spread() -> None:
    scores = spread_scores()
    for transform in ("zscore", "rank"):
        narrow = selection_logits(0.9 + 0.01 * scores, transform=transform)
        torch.testing.assert_close(narrow, selection_logits(scores, transform=transform), atol=1e-3, rtol=1e-3)


def test_a_high_temperature_forgets_the_scores_and_a_low_one_takes_the_highest() -> None:
    scores = spread_scores()
    flat = inclusion_probability(selection_logits(scores, 1e6), 20)
    torch.testing.assert_close(flat, torch.full_like(flat, 20 / 64), rtol=0, atol=1e-6)
    cold = draw_dropped(selection_logits(scores, 1e-6), 50, 20, "multinomial", Generator().manual_seed(0))
    assert torch.equal(cold, draw_dropped(scores, 50, 20, "topk"))
    assert inclusion_probability(selection_logits(scores, 1e-3), 20).isfinite().all()


def test_the_paper_rule_tilts_as_the_theory_says() -> None:
    scores = torch.cat([torch.ones(256), torch.zeros(256)])  # half static, half not; r = 0.5, T = 1
    probabilities = inclusion_probability(selection_logits(scores), 256)
    assert float(probabilities[0]) == pytest.approx(0.667, abs=0.01)
    assert float(probabilities[-1]) == pytest.approx(0.333, abs=0.01)


def test_only_the_given_generator_is_used() -> None:
    before = torch.get_rng_state()
    first = draw_dropped(spread_scores(), 10, 5, generator=Generator().manual_seed(7))
    assert torch.equal(first, draw_dropped(spread_scores(), 10, 5, generator=Generator().manual_seed(7)))
    assert not torch.equal(first, draw_dropped(spread_scores(), 10, 5, generator=Generator().manual_seed(8)))
    assert torch.equal(before, torch.get_rng_state())
