# SPDX-License-Identifier: Apache-2.0
"""Pathways: the frames that a batch's slower clips have are found, and taken from the perturbed clip."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from staticdropout.callbacks.pathways import are_pathways, fastest, repack
from staticdropout.errors import BatchError


def clip(frames: int = 16) -> Tensor:
    return torch.rand(2, 3, frames, 4, 4, generator=torch.Generator().manual_seed(frames))


RULES: dict[str, Callable[[int], list[int]]] = {
    "PackPathway": lambda length: torch.linspace(0, length - 1, length // 4).long().tolist(),
    "every fourth": lambda length: list(range(0, length, 4)),
    "middle of four": lambda length: list(range(2, length, 4)),
    "every other": lambda length: list(range(0, length, 2)),
    "last of eight": lambda length: list(range(7, length, 8)),
    "np.linspace, rounded": lambda length: np.linspace(0, length - 1, 5).round().astype(int).tolist(),
    "one frame": lambda length: [length // 2],
    "all": lambda length: list(range(length)),
}


@pytest.mark.parametrize("length", [8, 9, 16, 31, 32, 64])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("time", [1, 2])
def test_frames_taken_by_a_usual_rule_are_found(length: int, rule: str, time: int) -> None:
    frames, fast = RULES[rule](length), clip(length)
    perturbed = fast.flip(2)[:1]
    slow = fast[:, :, frames]
    if time == 1:
        slow, fast, perturbed = (part.transpose(1, 2) for part in (slow, fast, perturbed))
    third = fast.narrow(time, 0, 1)
    slow_again, fast_again, _ = repack([slow, fast, third], perturbed)
    assert torch.equal(slow_again, perturbed.index_select(time, torch.tensor(frames)))
    assert torch.equal(fast_again, perturbed)


def test_where_several_rules_fit_the_frames_look_alike() -> None:
    still = clip(1).expand(2, 3, 16, 4, 4)
    slow, fast = repack([still[:, :, ::4], still], still)
    assert torch.equal(slow, still[:, :, ::4])
    assert fast is still


def test_each_clip_decides_not_the_first_alone() -> None:
    fast = clip()
    fast[0] = fast[0, :, :1]  # the first clip stands still
    slow = fast[:, :, 2::4]
    perturbed = fast.flip(2)
    assert torch.equal(repack([slow, fast], perturbed)[0], perturbed[:, :, 2::4])


@pytest.mark.parametrize("frames", [[0, 1, 2, 3], [3, 1, 5, 7], [0, 5, 6, 15]])
def test_other_frames_are_refused(frames: list[int]) -> None:
    with pytest.raises(BatchError, match=r"4 and 16 frames.*forward="):
        repack([clip()[:, :, frames], clip()], clip())


def test_frames_that_were_changed_are_refused() -> None:
    with pytest.raises(BatchError, match="forward="):
        repack([clip()[:, :, ::4] + 1e-3, clip()], clip())


def test_a_perturbed_clip_of_another_size_is_refused() -> None:
    with pytest.raises(BatchError, match=r"\(2, 3, 16, 4, 4\).*\(2, 3, 8, 4, 4\)"):
        repack([clip()[:, :, ::4], clip()], clip(8))


@pytest.mark.parametrize(
    "value",
    [
        [clip()],
        [clip(), clip()],
        [clip(), clip()[..., :2]],
        [clip(), clip()[:, :2, ::4]],
        [clip(), clip()[:1]],
        [clip(), "label"],
        [clip() > 0, clip()[:, :, ::4] > 0],
        {"slow": clip()[:, :, ::4], "fast": clip()},
        clip(),
    ],
)
def test_what_is_no_list_of_pathways(value: object) -> None:
    assert not are_pathways(value)


def test_the_clip_of_most_frames_is_the_one_to_perturb() -> None:
    fast = clip()
    assert fastest([fast[:, :, ::4], fast, fast[:, :, ::2]]) is fast
