# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from staticdropout.errors import BatchError, UnknownNameError
from staticdropout.perturbations import StyleSet, get_style
from staticdropout.perturbations.styles import Chalk, Neon


class Invert:
    """A user's style that derives from nothing of this package."""

    name, temporal = "invert", False

    def __init__(self, parameters: object = None) -> None:
        if parameters is not None:
            self.parameters = parameters

    def __call__(self, clip: Tensor, *, seed: int = 0) -> Tensor:
        return 1 - clip


class Network(nn.Module):
    name, temporal, version = "network", False, 3

    def forward(self, clip: Tensor, *, seed: int = 0) -> Tensor:
        return clip.mean(dim=1)


def test_a_set_is_a_sequence_of_styles_in_the_given_order() -> None:
    styles = StyleSet(["neon", Invert(), "chalk"])
    assert styles.names == ("neon", "invert", "chalk")
    assert len(styles) == 3
    assert isinstance(styles[0], Neon)
    assert [style.name for style in styles[1:]] == ["invert", "chalk"]
    assert styles.name == "neon+invert+chalk"


def test_the_default_set_has_four_styles_and_a_name() -> None:
    assert StyleSet().names == ("paint", "chalk", "neon", "relief")
    assert StyleSet().name == "default"
    assert StyleSet([get_style("paint"), "chalk", "neon", "relief"]).hash == StyleSet().hash


def test_the_hash_depends_on_content_alone() -> None:
    reference = StyleSet(["neon", "chalk"])
    assert StyleSet([Neon(), Chalk()], name="other").hash == reference.hash
    others = [
        StyleSet(["chalk", "neon"]),
        StyleSet(["neon", "chalk"], seed=1),
        StyleSet(["neon", Chalk(gain=15.0)]),
        StyleSet(["neon", "chalk", "paint"]),
    ]
    assert len({reference.hash, *(other.hash for other in others)}) == 5


def test_the_hash_depends_on_the_version_of_a_style(monkeypatch: pytest.MonkeyPatch) -> None:
    before = StyleSet().hash
    monkeypatch.setattr(Chalk, "version", Chalk.version + 1)
    assert StyleSet().hash != before


def test_the_hash_is_the_same_in_another_process() -> None:
    code = "from staticdropout.perturbations import StyleSet; print(StyleSet().hash)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == StyleSet().hash


def test_the_seed_of_the_set_chooses_the_variant(textured_clips: Tensor) -> None:
    assert torch.equal(StyleSet(["neon"], seed=2).render(0, textured_clips), Neon()(textured_clips, seed=2))


def test_a_network_can_be_a_style_and_its_shape_is_checked(textured_clips: Tensor) -> None:
    styles = StyleSet([Network()])
    with pytest.raises(BatchError, match=r"'network' returned shape \(2, 5, 72, 80\)"):
        styles.render(0, textured_clips)


@pytest.mark.parametrize(
    ("styles", "error", "message"),
    [
        ([], ValueError, "at least one"),
        ("paint", TypeError, r"Write \['paint'\]"),
        (["paint", "pant"], UnknownNameError, "'pant'.*paint"),
        (["paint", 3], TypeError, "found 3"),
        ([Neon], TypeError, "style objects"),
        ([lambda clip: clip], TypeError, "`name` and `temporal`"),
        (["neon", "neon"], ValueError, "'neon' is in the set twice"),
        ([Invert({"weights": torch.zeros(1)})], ValueError, "'invert' cannot be hashed"),
    ],
)
def test_what_is_no_set_of_styles_is_refused(styles: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        StyleSet(styles)  # type: ignore[arg-type]


def test_one_style_with_two_settings_makes_two_entries() -> None:
    assert StyleSet([Neon(), Neon(sharpness=9.0)]).names == ("neon", "neon")
