# SPDX-License-Identifier: Apache-2.0
"""RTNet's learning rates, epoch by epoch."""

from __future__ import annotations

import pytest
import torch

from staticdropout.lightning_modules import RTNetSchedule


def test_the_rates_of_all_epochs_are_those_of_the_recipe_also_after_a_resume() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=5e-4)
    schedule = RTNetSchedule(optimizer)
    rates = []
    for epoch in range(99):
        rates.append(optimizer.param_groups[0]["lr"])
        if epoch == 30:
            state = schedule.state_dict()
            schedule = RTNetSchedule(optimizer)
            schedule.load_state_dict(state)
        optimizer.step()
        schedule.step()
    expected = [
        1e-3 if epoch <= 4 else 5e-4 if epoch < 16 else max(1e-5, 5e-4 * 0.9 ** (epoch - 20)) for epoch in range(1, 100)
    ]
    assert rates == pytest.approx(expected)
    assert max(rates[15:]) == pytest.approx(7.6e-4, rel=0.01)
