# SPDX-License-Identifier: Apache-2.0
"""Callbacks on their way to other processes; what they do there is in tests/drills/test_two_ranks.py."""

from __future__ import annotations

import pickle
from pathlib import Path

from lightning.pytorch import Callback
from toys import fit, same_weights

from staticdropout.callbacks import BiasMonitor, StaticDropout


def test_callbacks_that_were_pickled_as_ddp_spawn_does_work_as_before(tmp_path: Path) -> None:
    callbacks: list[Callback] = [
        StaticDropout(rate=0.5, every_n_steps=2),
        BiasMonitor(layers="backbone.layer*", num_clips=8, num_groups=4, figures=False, verbose=False),
    ]
    sent: list[Callback] = pickle.loads(pickle.dumps(callbacks))
    module, _ = fit(tmp_path / "here", callbacks, max_epochs=1)
    other, _ = fit(tmp_path / "there", sent, max_epochs=1)
    assert same_weights(module, other)
    assert repr(callbacks[1].state_dict()) == repr(sent[1].state_dict())
    # After a training as well: ddp_spawn sends the Trainer back and forth with each fit.
    assert repr(pickle.loads(pickle.dumps(callbacks[1])).state_dict()) == repr(callbacks[1].state_dict())
