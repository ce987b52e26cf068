# SPDX-License-Identifier: Apache-2.0
"""What the LightningModules of this package share."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from toys import loader_of, make_trainer

from staticdropout.lightning_modules import VideoClassifier


@pytest.mark.parametrize("loaded", [True, False])
def test_a_validation_of_random_weights_says_so(tmp_path: Path, loaded: bool) -> None:
    module = VideoClassifier("resnet3d_r18", num_classes=4, model_args={"width": 4})
    if loaded:
        module.load_state_dict(module.state_dict())
    clips = [{"video": torch.rand(3, 4, 16, 16), "label": 0, "id": "a"}]
    trainer = make_trainer(tmp_path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.validate(module, loader_of(clips), verbose=False)
    assert any("random weights" in str(warning.message) for warning in caught) != loaded
