# SPDX-License-Identifier: Apache-2.0
"""What of a network's answers to stills survives a style, on networks whose answers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from small_models import small_model
from torch import Tensor, nn

from staticdropout.errors import LayerNotFoundError
from staticdropout.models.style_correlation import StyleCorrelation, still_features


class Colours(nn.Module):
    """Three units: mean red, mean strength of upright edges, mean change from frame to frame."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Identity()
        self.head = nn.Linear(3, 2)

    def forward(self, video: Tensor) -> Tensor:
        red = video[:, 0].mean((1, 2, 3))
        edges = video.diff(dim=-1).abs().mean((1, 2, 3, 4))
        change = video.diff(dim=2).abs().mean((1, 2, 3, 4))
        out: Tensor = self.head(self.body(torch.stack([red, edges, change], dim=1)))
        return out


def stills(count: int = 24) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    spread = torch.rand(count, 1, 1, 1, generator=generator)
    return torch.rand(count, 3, 12, 12, generator=generator) * spread + (1 - spread) / 3


def correlations(
    model: nn.Module, styles: dict[str, Tensor], batch: int = 24
) -> tuple[dict[tuple[str, str], float], StyleCorrelation]:
    over = StyleCorrelation(list(styles))
    for start in range(0, len(stills()), batch):
        over.update({
            name: still_features(model, frames[start : start + batch], num_frames=4) for name, frames in styles.items()
        })  # fmt: skip
    return over.compute(), over


def test_colours_turn_their_sign_under_inversion_edges_stay_and_dynamics_are_silent() -> None:
    model, frames = Colours().eval(), stills()
    features = {name: still_features(model, x, 4) for name, x in (("plain", frames), ("negative", 1 - frames))}
    over = StyleCorrelation(["plain", "negative"])
    over.update({name: value[:, :1] for name, value in features.items()})
    assert over.compute()["plain", "negative"] == pytest.approx(-1, abs=1e-5)
    over = StyleCorrelation(["plain", "negative"])
    over.update({name: value[:, 1:2] for name, value in features.items()})
    assert over.compute()["plain", "negative"] == pytest.approx(1, abs=1e-5)
    found, whole = correlations(model, {"plain": frames, "negative": 1 - frames})
    assert found["plain", "negative"] == pytest.approx(0, abs=1e-5)  # the mean of -1 and 1; a still has no change
    assert (whole.units, whole.silent_units) == (3, 1)


def test_correlations_are_those_of_numpy_for_every_pair_and_however_the_stills_are_split() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv3d(3, 5, 3), nn.Tanh(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(5, 2)).eval()
    frames = stills()
    styles = {"plain": frames, "squares": frames**2, "turned": frames[:, [1, 2, 0]]}
    with torch.no_grad():
        answers = {
            name: model[:4](x[:, :, None].expand(-1, -1, 4, -1, -1)).double().numpy() for name, x in styles.items()
        }
    whole, _ = correlations(model, styles)
    parts, _ = correlations(model, styles, batch=5)
    assert list(whole) == [("plain", "squares"), ("plain", "turned"), ("squares", "turned")]
    for (a, b), value in whole.items():
        expected = np.mean([np.corrcoef(answers[a][:, unit], answers[b][:, unit])[0, 1] for unit in range(5)])
        assert value == pytest.approx(expected, abs=1e-4)
        assert parts[a, b] == pytest.approx(value, abs=1e-6)


def test_a_named_layer_is_asked_instead_of_what_the_classifier_sees() -> None:
    model, frames = Colours().eval(), stills()
    assert still_features(model, frames, 4, "head").shape == (24, 2)
    assert torch.equal(still_features(model, frames, 4, "body"), still_features(model, frames, 4))
    assert still_features(model, frames, 4, "*").shape == (24, 5)


@pytest.mark.parametrize(
    "name", ["slowonly_r18", "slowfast_r18_4x16", "x3d_s", "mvit_b_16x4", "timesformer_divst_8x32"]
)
def test_networks_of_every_kind_are_asked_before_their_classifier(name: str) -> None:
    frames = 32 if name.startswith("slowfast") else 4
    model = small_model(name).eval()
    features = still_features(model, torch.rand(2, 3, 32, 32), frames)
    assert features.shape[0] == 2
    assert features.shape[1] >= 24
    assert features.isfinite().all()


def test_a_network_that_folds_frames_into_the_batch_still_gives_a_row_a_clip() -> None:
    class FrameByFrame(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, video: Tensor) -> Tensor:
            frames = video.transpose(1, 2).flatten(0, 1).mean((2, 3))
            out: Tensor = self.fc(frames).view(len(video), -1, 2).mean(1)
            return out

    frames = stills(4)
    torch.testing.assert_close(still_features(FrameByFrame(), frames, 5), frames.mean((2, 3)))


def test_no_units_no_stills_and_no_layer_are_told() -> None:
    assert math.isnan(StyleCorrelation(["a", "b"]).compute()["a", "b"])
    silent = StyleCorrelation(["a", "b"])
    silent.update({"a": torch.ones(4, 2), "b": torch.rand(4, 2)})
    assert math.isnan(silent.compute()["a", "b"])
    with pytest.raises(LayerNotFoundError, match=r"nn\.Linear"):
        still_features(nn.Conv3d(3, 4, 1), stills(2), 2)
    with pytest.raises(LayerNotFoundError, match="nowhere"):
        still_features(Colours(), stills(2), 2, "nowhere")
