# SPDX-License-Identifier: Apache-2.0
"""Feature capture: right values, nothing left behind."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from staticdropout.errors import LayerNotCalledError, LayerNotFoundError
from staticdropout.models import capture, channel_means, list_layers


class Branches(nn.Module):
    """Gives its output as a dict, a list and a tuple."""

    def __init__(self, kind: Callable[[Any], Any]) -> None:
        super().__init__()
        self.kind = kind
        self.split = Split(kind)

    def forward(self, x: Tensor) -> Any:
        return self.split(x)


class Split(nn.Module):
    def __init__(self, kind: Callable[[Any], Any]) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Any:
        parts = {"slow": x, "fast": 2 * x}
        return parts if self.kind is dict else self.kind(parts.values())


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(3, 8, 3), nn.ReLU(inplace=True), nn.Conv3d(8, 4, 3), nn.Flatten(), nn.Linear(4 * 4 * 64, 2)
    )


CLIP = torch.rand(2, 3, 8, 12, 12, generator=torch.Generator().manual_seed(1))


def hooks_of(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_maps_are_averaged_over_time_and_space(model: nn.Sequential) -> None:
    with capture(model, "2") as run:
        features = run(model, CLIP)
    torch.testing.assert_close(features["2"], model[:3](CLIP).mean((2, 3, 4)))


def test_later_in_place_operations_do_not_change_what_was_captured(model: nn.Sequential) -> None:
    with capture(model, "0", reduce=lambda x: x.clone()) as run:
        features = run(model, CLIP)
    assert (features["0"] < 0).any()
    with capture(model, "0") as run:
        torch.testing.assert_close(run(model, CLIP)["0"], model[0](CLIP).mean((2, 3, 4)))


def test_the_input_of_a_layer_is_what_it_was_called_with(model: nn.Sequential) -> None:
    with capture(model, "4[input]") as run:
        torch.testing.assert_close(run(model, CLIP)["4[input]"], model[:4](CLIP))


def test_an_input_given_by_keyword_is_found() -> None:
    inner = nn.Linear(3, 2)

    class Caller(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            output: Tensor = self.inner(input=x)
            return output

    model = Caller()
    with capture(model, "inner[input]") as run:
        assert run(model, torch.ones(2, 3))["inner[input]"].tolist() == [[1.0] * 3] * 2


@pytest.mark.parametrize(("kind", "suffix"), [(dict, "fast"), (list, "1"), (tuple, "-1")])
def test_parts_of_dicts_lists_and_tuples_are_addressed_by_suffix(kind: Callable[[Any], Any], suffix: str) -> None:
    model = Branches(kind)
    with capture(model, f"split[{suffix}]") as run:
        torch.testing.assert_close(run(model, CLIP)[f"split[{suffix}]"], 2 * CLIP.mean((2, 3, 4)))


@pytest.mark.parametrize(
    ("kind", "pattern", "message"),
    [
        (dict, "split", r"gives a dict.*split\[slow\]"),
        (list, "split", r"gives a list.*split\[0\]"),
        (dict, "split[medium]", r"keys \['slow', 'fast'\]"),
        (list, "split[7]", "type list"),
    ],
)
def test_a_wrong_or_missing_suffix_says_what_there_is(kind: Callable[[Any], Any], pattern: str, message: str) -> None:
    model = Branches(kind)
    with pytest.raises(LayerNotFoundError, match=message), capture(model, pattern) as run:
        run(model, CLIP)


@pytest.mark.parametrize("failure", ["none", "model", "missing layer", "body", "reduce"])
def test_no_hook_survives(model: nn.Sequential, failure: str) -> None:
    def explode(*args: Any) -> Any:
        raise RuntimeError("boom")

    extra: dict[str, Any] = {"reduce": explode} if failure == "reduce" else {}
    try:
        with capture(model, ["*", "nothing"] if failure == "missing layer" else "*", **extra) as run:
            run(explode if failure == "model" else model, CLIP)
            if failure == "body":
                explode()
    except (RuntimeError, LayerNotFoundError):
        assert failure != "none"
    else:
        assert failure == "none"
    assert hooks_of(model) == 0
    copy.deepcopy(model)
    pickle.dumps(model)


def test_a_layer_that_does_not_run_is_an_error() -> None:
    model = nn.ModuleDict({"used": nn.Linear(2, 2), "unused": nn.Linear(2, 2)})
    with pytest.raises(LayerNotCalledError, match="unused"), capture(model, "*") as run:
        run(model["used"], torch.ones(1, 2))


def test_each_pass_starts_afresh(model: nn.Sequential) -> None:
    with capture(model, "2") as run:
        first = run(model, CLIP)
        run(model, 0 * CLIP)
        torch.testing.assert_close(run(model, CLIP), first)


def test_stopping_early_saves_the_rest_and_gives_the_same(model: nn.Sequential) -> None:
    ran = []
    model[4].register_forward_hook(lambda *_: ran.append(1))
    with capture(model, "0", stop_early=True) as run:
        early = run(model, CLIP)
    assert not ran
    with capture(model, "0") as run:
        torch.testing.assert_close(run(model, CLIP), early)
    assert ran == [1]


def test_a_layer_called_frame_by_frame_gives_the_mean_over_frames(model: nn.Sequential) -> None:
    frame_net = nn.Sequential(nn.Conv2d(3, 5, 3))

    def by_frame(video: Tensor) -> None:
        for frame in video.unbind(2):
            frame_net(frame)

    folded = CLIP.transpose(1, 2).flatten(0, 1)
    with capture(frame_net, "0") as run:
        one_by_one = run(by_frame, CLIP)["0"]
    with capture(frame_net, "0", batch_size=2) as run:
        torch.testing.assert_close(run(frame_net, folded)["0"], one_by_one)


def test_a_first_dimension_that_is_no_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="3 rows for 2 clips"):
        channel_means(torch.rand(3, 4), batch_size=2)


@pytest.mark.parametrize(
    ("shape", "channel_dim", "expected"),
    [
        ((2, 5, 3, 4, 4), None, (2, 5)),
        ((2, 5, 4, 4), None, (2, 5)),
        ((2, 9, 5), None, (2, 5)),
        ((2, 5), None, (2, 5)),
        ((2, 3, 4, 4, 5), -1, (2, 5)),
        ((2, 5, 9), 1, (2, 5)),
    ],
)
def test_channels_are_where_they_usually_are_or_where_one_says(
    shape: tuple[int, ...], channel_dim: int | None, expected: tuple[int, int]
) -> None:
    features = torch.rand(shape)
    means = channel_means(features, channel_dim)
    assert means.shape == expected
    assert float(means.mean()) == pytest.approx(float(features.mean()), rel=1e-5)


def test_the_input_of_a_linear_layer_has_its_channels_last_whatever_its_shape() -> None:
    class SlowFastHead(nn.Module):
        """Pools, puts channels last and classifies every position, as SlowFast's and PyTorchVideo's heads do."""

        def __init__(self) -> None:
            super().__init__()
            self.norm, self.projection = nn.LayerNorm(5), nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.projection(self.norm(x.permute(0, 2, 3, 4, 1)))
            return logits

    model, maps = SlowFastHead(), torch.rand(2, 5, 1, 2, 2)
    with capture(model, ["norm", "projection[input]", "projection"]) as run:
        features = run(model, maps)
    assert {name: tuple(value.shape) for name, value in features.items()} == {
        "norm": (2, 5),
        "projection[input]": (2, 5),
        "projection": (2, 3),
    }


def test_half_precision_maps_are_averaged_in_float32() -> None:
    features = torch.full((1, 1, 8, 64, 64), 1.0, dtype=torch.bfloat16)
    features[..., :32] = 1.0078125
    assert channel_means(features).dtype == torch.float32
    assert float(channel_means(features)) == pytest.approx(1.00390625)


@pytest.mark.parametrize("bad", [torch.rand(3), torch.ones(2, 3, dtype=torch.long)])
def test_what_is_no_feature_is_refused(bad: Tensor) -> None:
    with pytest.raises(ValueError, match="Expected"):
        channel_means(bad)


@pytest.mark.parametrize("compiled_first", [True, False])
@pytest.mark.parametrize("in_place", [True, False])
def test_compiled_models_are_captured_whenever_they_were_compiled(
    model: nn.Sequential, compiled_first: bool, in_place: bool
) -> None:
    with capture(model, "2") as run:
        expected = run(model, CLIP)["2"]
    if in_place:
        model.compile(backend="eager")
        compiled: Any = model
    else:
        net: Any = torch.compile(model, backend="eager")
        compiled = nn.ModuleDict({"net": net})
    caller = compiled if in_place else compiled["net"]
    if compiled_first:
        caller(CLIP)  # hooks registered after this call would never fire
    name = "2" if in_place else "net.2"
    with capture(compiled, name) as run:
        torch.testing.assert_close(run(caller, CLIP)[name], expected)


def test_models_wrapped_for_ddp_are_captured_by_their_plain_names(model: nn.Sequential, tmp_path: Path) -> None:
    with capture(model, ["2", "4[input]"]) as run:
        expected = run(model, CLIP)
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(model)
        with capture(wrapped, ["2", "4[input]"]) as run:
            features = run(wrapped, CLIP)
    finally:
        dist.destroy_process_group()
    assert list(features) == ["2", "4[input]"]
    torch.testing.assert_close(features, expected)


def test_list_layers_tells_shapes_in_order_and_leaves_modes_alone(model: nn.Sequential) -> None:
    model.train()
    model[1].eval()
    shapes = list_layers(model, CLIP)
    assert shapes == {"0": (2, 8, 6, 10, 10), "1": (2, 8, 6, 10, 10), "2": (2, 4, 4, 8, 8), "3": (2, 1024), "4": (2, 2)}
    assert model.training
    assert not model[1].training
    assert hooks_of(model) == 0


def test_list_layers_names_the_parts_of_structured_outputs() -> None:
    assert list(list_layers(Branches(dict), CLIP)) == ["split[slow]", "split[fast]"]
