# SPDX-License-Identifier: Apache-2.0
"""The reciprocal transformations, against a statement in NumPy that goes position by position."""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from staticdropout.errors import BatchError, OptionError
from staticdropout.models.segmentation.reciprocal import (
    AttentionForm,
    ReciprocalAttention,
    ReciprocalConnection,
    ReciprocalTransform,
    SelfTransform,
)

Array = npt.NDArray[np.float64]

FORMS = [
    AttentionForm(heads, transposed, bias, pooled)
    for heads, (transposed, bias, pooled) in product((1, 4), product((False, True), repeat=3))
]
CHANNELS = 8


def maps(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def numbers(tensor: Tensor) -> Array:
    return tensor.detach().double().numpy()


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def pointwise(conv: nn.Conv2d, x: Array) -> Array:
    """Apply a 1x1 convolution to (C, ...)."""
    out = np.tensordot(numbers(conv.weight)[:, :, 0, 0], x, axes=1)
    return np.asarray(out if conv.bias is None else out + numbers(conv.bias).reshape(-1, *[1] * (x.ndim - 1)))


def max_pool(x: Array) -> Array:
    """3x3, stride 2, one position of padding, which never wins."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    rows, columns = range(0, x.shape[1], 2), range(0, x.shape[2], 2)
    return np.array([[padded[:, i : i + 3, j : j + 3].max((1, 2)) for j in columns] for i in rows]).transpose(2, 0, 1)


def enlarge(x: Array, size: tuple[int, ...]) -> Array:
    """Bilinear with the corners kept: linear along one axis, then along the other."""
    for length in size:
        places = np.linspace(0, x.shape[1] - 1, length)
        lines = [
            np.interp(places, np.arange(x.shape[1]), line) for line in x.transpose(0, 2, 1).reshape(-1, x.shape[1])
        ]
        x = np.array(lines).reshape(len(x), x.shape[2], length)  # the axes change places, twice in all
    return x


def attend(attention: ReciprocalAttention, x: Array, source: Array) -> Array:
    form, size = attention.form, x.shape[1:]
    if form.pooled:
        x, source = max_pool(x), max_pool(source)
    query, key, value = (
        pointwise(conv, t).reshape(len(t), -1)
        for conv, t in ((attention.query, x), (attention.key, source), (attention.value, source))
    )
    out, positions, depth = np.zeros_like(query), query.shape[1], len(query) // form.heads
    for head in range(form.heads):
        part = slice(head * depth, (head + 1) * depth)
        for i in range(positions):
            scores = np.array([query[part, i] @ key[part, j] for j in range(positions)]) / np.sqrt(depth)
            weights = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
            for j in range(positions):
                if form.transposed:
                    out[part, j] += weights[j] * value[part, i]
                else:
                    out[part, i] += weights[j] * value[part, j]
    out = out.reshape(-1, *x.shape[1:])
    return enlarge(out, size) if form.pooled else out


def scale(transform: ReciprocalTransform | SelfTransform, *inputs: Array) -> list[Array]:
    squeeze, excite = transform.scaling.squeeze, transform.scaling.excite
    means = np.concatenate([x.mean((1, 2)) for x in inputs])
    weights = sigmoid(pointwise(excite, np.maximum(pointwise(squeeze, means), 0)))
    return [x + x * w[:, None, None] for x, w in zip(inputs, np.split(weights, len(inputs)), strict=True)]


def gate(transform: ReciprocalTransform | SelfTransform, *inputs: Array) -> list[Array]:
    weights = sigmoid(pointwise(transform.gate.conv, np.concatenate(inputs)))
    return [x + x * w for x, w in zip(inputs, weights, strict=True)]


def transform_pair(transform: ReciprocalTransform, x: Array, y: Array) -> list[Array]:
    x, y = scale(transform, x, y)
    x_new = attend(transform.attention, x, y)
    y_new = attend(transform.attention_back or transform.attention, y, x_new)
    return gate(transform, x_new, y_new)


def transform_self(transform: SelfTransform, x: Array) -> Array:
    (x,) = scale(transform, x)
    return gate(transform, attend(transform.attention, x, x))[0]


def assert_equal(ours: Tensor, expected: Array) -> None:
    np.testing.assert_allclose(numbers(ours), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_attention_is_what_its_form_says(form: AttentionForm) -> None:
    torch.manual_seed(0)
    attention = ReciprocalAttention(CHANNELS, form)
    x, source = 2 * maps(2, CHANNELS, 5, 4), 2 * maps(2, CHANNELS, 5, 4, seed=1)
    out = attention(x, source)
    for row in range(2):
        assert_equal(out[row], attend(attention, numbers(x[row]), numbers(source[row])))


@pytest.mark.parametrize("heads", [1, 2])
def test_transposed_attention_hands_every_value_out_whole(heads: int) -> None:
    attention = ReciprocalAttention(CHANNELS, AttentionForm(heads, transposed=True))
    x, source = 3 * maps(1, CHANNELS, 4, 4), 3 * maps(1, CHANNELS, 4, 4, seed=1)
    torch.testing.assert_close(attention(x, source).sum((2, 3)), attention.value(source).sum((2, 3)))


@pytest.mark.parametrize("transposed", [False, True])
def test_the_bias_of_the_keys_has_no_effect(transposed: bool) -> None:
    attention = ReciprocalAttention(CHANNELS, AttentionForm(2, transposed, bias=True))
    x, source = maps(1, CHANNELS, 4, 4), maps(1, CHANNELS, 4, 4, seed=1)
    before = attention(x, source)
    assert attention.key.bias is not None
    nn.init.normal_(attention.key.bias)
    torch.testing.assert_close(attention(x, source), before)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("form", [AttentionForm(2), AttentionForm(1, True, True, True)], ids=str)
def test_two_maps_transform_each_other(form: AttentionForm, shared: bool) -> None:
    torch.manual_seed(0)
    transform = ReciprocalTransform(CHANNELS, form, shared)
    x, y = maps(2, CHANNELS, 3, 4), maps(2, CHANNELS, 3, 4, seed=1)
    ours = transform(x, y)
    for row in range(2):
        expected = transform_pair(transform, numbers(x[row]), numbers(y[row]))
        assert_equal(ours[0][row], expected[0])
        assert_equal(ours[1][row], expected[1])


def test_a_shared_attention_has_no_second_set_of_weights() -> None:
    assert ReciprocalTransform(CHANNELS, AttentionForm(), shared=True).attention_back is None
    assert ReciprocalTransform(CHANNELS, AttentionForm()).attention_back is not None


@pytest.mark.parametrize(("form", "hidden"), [(AttentionForm(2), 4), (AttentionForm(2, squeeze=8), 1)], ids=str)
def test_channels_are_squeezed_by_the_number_of_heads_unless_told(form: AttentionForm, hidden: int) -> None:
    for transform in (ReciprocalTransform(CHANNELS, form), SelfTransform(CHANNELS, form)):
        assert transform.scaling.squeeze.out_channels == hidden


@pytest.mark.parametrize("form", [AttentionForm(2), AttentionForm(1, True, True, True)], ids=str)
def test_a_map_transforms_itself(form: AttentionForm) -> None:
    torch.manual_seed(0)
    transform, x = SelfTransform(CHANNELS, form), maps(2, CHANNELS, 4, 3)
    ours = transform(x)
    for row in range(2):
        assert_equal(ours[row], transform_self(transform, numbers(x[row])))


def test_each_stream_adds_its_three_transformations() -> None:
    torch.manual_seed(0)
    connection = ReciprocalConnection(CHANNELS, AttentionForm(2))
    appearance, motion = maps(4, CHANNELS, 3, 3), maps(4, CHANNELS, 3, 3, seed=1)
    ours = connection(appearance, motion)
    for clip in (0, 2):
        s, t = numbers(appearance[clip : clip + 2]), numbers(motion[clip : clip + 2])
        frames_s = transform_pair(connection.appearance_frames, s[0], s[1])
        frames_t = transform_pair(connection.motion_frames, t[0], t[1])
        for frame in (0, 1):
            from_motion, from_appearance = transform_pair(connection.streams, s[frame], t[frame])
            self_s = transform_self(connection.appearance_self, s[frame])
            self_t = transform_self(connection.motion_self, t[frame])
            assert_equal(ours["appearance"][clip + frame], s[frame] + frames_s[frame] + self_s + from_motion)
            assert_equal(ours["motion"][clip + frame], t[frame] + frames_t[frame] + self_t + from_appearance)


def test_the_released_order_of_rows_is_frame_by_frame() -> None:
    ours, released = ReciprocalConnection(4), ReciprocalConnection(4, released_batching=True)
    released.load_state_dict(ours.state_dict())
    appearance, motion = maps(6, 4, 3, 3), maps(6, 4, 3, 3, seed=1)
    expected, found = ours(appearance, motion), released(appearance, motion)
    for stream in ("appearance", "motion"):
        assert torch.equal(found[stream], expected[stream][[0, 2, 4, 1, 3, 5]])


def test_an_odd_number_of_rows_is_refused() -> None:
    with pytest.raises(BatchError, match="found 3 rows"):
        ReciprocalConnection(4)(torch.rand(3, 4, 2, 2), torch.rand(3, 4, 2, 2))


def test_heads_that_do_not_divide_the_channels_are_refused() -> None:
    with pytest.raises(OptionError, match="8 channels cannot be split into heads=3"):
        ReciprocalAttention(8, AttentionForm(heads=3))
