# SPDX-License-Identifier: Apache-2.0
"""A copy with merged batch normalisations is compared with the model, up to the rounding of its precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from batchnorm_toys import Gives, Shared, normalisations, small, with_statistics
from torch import Tensor, nn

from staticdropout.errors import OptionError
from staticdropout.models import fuse_batchnorm


def test_a_model_that_uses_a_convolution_twice_is_refused() -> None:
    with pytest.raises(OptionError, match=r"output changes by .* of its largest value.*Run it as it is"):
        fuse_batchnorm(with_statistics(Shared(seen=False)), torch.randn(2, 3, 4, 4))


def test_relus_whose_input_is_used_again_are_refused_in_place() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            x = 1 * x
            out: Tensor = self.relu(x) - 2 * x
            return out

    model, x = Residual(), torch.randn(2, 3)
    assert torch.equal(fuse_batchnorm(model, x)(x), model(x))
    with pytest.raises(OptionError, match="Try inplace=False"):
        fuse_batchnorm(model, x, inplace=True)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_network_in_half_precision_may_change_by_its_rounding(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model, (clip,) = small("slowonly_r50")
    fused = fuse_batchnorm(model.to(dtype), clip.to(dtype))
    assert normalisations(fused) == 0
    tolerance = {torch.bfloat16: 5e-2, torch.float16: 1e-2}[dtype]
    with torch.inference_mode():
        expected = model.eval()(clip.to(dtype))
        difference = (fused(clip.to(dtype)) - expected).abs().max()
    assert 0 < difference <= tolerance * expected.abs().max()


class Rounds(nn.Module):
    """Gives float32, and adds a part of the largest value where nothing is normalised any more."""

    def __init__(self, part: float) -> None:
        super().__init__()
        self.layers, self.part = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), part

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x).float()
        return out if isinstance(self.layers[1], nn.BatchNorm2d) else out + self.part * out.abs().max()


@pytest.mark.parametrize(
    ("dtype", "allowed", "refused"),
    [(torch.bfloat16, 0.03, 0.08), (torch.float16, 0.006, 0.015), (torch.float32, 6e-4, 2e-3)],
    ids=str,
)
def test_every_precision_has_its_tolerance(dtype: torch.dtype, allowed: float, refused: float) -> None:
    torch.manual_seed(0)
    image = torch.randn(2, 3, 4, 4, dtype=dtype)
    assert normalisations(fuse_batchnorm(Rounds(allowed).to(dtype), image)) == 0
    with pytest.raises(OptionError, match=f"or rounding in {str(dtype)[6:]} changes it"):
        fuse_batchnorm(Rounds(refused).to(dtype), image)


def test_under_autocast_the_precision_is_that_of_the_convolutions() -> None:
    torch.manual_seed(0)
    image = torch.randn(2, 3, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert normalisations(fuse_batchnorm(Rounds(0.03), image)) == 0
    with pytest.raises(OptionError, match="or rounding in float32 changes it"):
        fuse_batchnorm(Rounds(0.03), image)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_a_wrong_merge_is_refused_in_every_precision_and_the_message_names_it(dtype: torch.dtype) -> None:
    model = with_statistics(Shared(seen=False)).to(dtype)
    with pytest.raises(OptionError, match=f"or rounding in {str(dtype)[6:]} changes it"):
        fuse_batchnorm(model, torch.randn(2, 3, 4, 4, dtype=dtype))


@pytest.fixture
def low_precision() -> Iterator[list[Any]]:
    """The settings of every backend, set to TF32 for one test."""
    backends: Any = torch.backends
    if not hasattr(backends.cudnn, "conv"):
        pytest.skip("PyTorch before 2.9 has other settings")
    places = [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn]
    places += [backends.mkldnn.matmul, backends.mkldnn.conv]
    before = [place.fp32_precision for place in places]
    for place in places:
        place.fp32_precision = "tf32"
    yield places
    for place, precision in zip(places, before, strict=True):
        place.fp32_precision = precision


def test_both_passes_compute_in_full_precision_and_the_setting_stays(low_precision: list[Any]) -> None:
    seen: list[str] = []

    class Looks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.extend(place.fp32_precision for place in low_precision)
            return x

    fuse_batchnorm(Looks(), torch.ones(1))
    assert seen == ["ieee"] * 2 * len(low_precision)
    with pytest.raises(OptionError):
        fuse_batchnorm(with_statistics(Shared(seen=False)), torch.randn(2, 3, 4, 4))
    assert [place.fp32_precision for place in low_precision] == ["tf32"] * len(low_precision)


@dataclass
class Output:
    logits: Tensor
    classes: Tensor


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: Output(x, x.argmax(1)),
        lambda x: (x, x.mean() > 0, x[:0], None),
        lambda x: {"logits": x, "classes": x.argmax(1)},
        lambda x: torch.complex(x, -x),
    ],
    ids=["dataclass", "truth", "classes", "complex"],
)
def test_outputs_are_compared_by_the_numbers_in_them(wrap: Callable[[Tensor], Any]) -> None:
    assert normalisations(fuse_batchnorm(with_statistics(Gives(wrap)), torch.randn(2, 3, 4, 4))) == 0


@pytest.mark.parametrize("wrap", [lambda x: x.argmax(1), lambda x: None, lambda x: iter([x])])
def test_a_model_whose_output_has_no_numbers_to_compare_is_refused_with_a_next_step(
    wrap: Callable[[Tensor], Any],
) -> None:
    with pytest.raises(OptionError, match=r"The model gives \w+, with no floating-point tensors.*wrap the model"):
        fuse_batchnorm(Gives(wrap), torch.randn(2, 3, 4, 4))
