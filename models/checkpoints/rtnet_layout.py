# SPDX-License-Identifier: Apache-2.0
"""The names in RTNet's released checkpoints (OliverRensu/RTNet: ``model_R34.pth``, ``model_RX50.pth``).

The files hold ``{"state_dict": …, "optimizer": …}`` with ``module.`` before every name. They count the residual stages
from 1 to 4; where our names count, they count the stem as stage 1, so that these are 2 to 5.
"""

from __future__ import annotations

__all__ = ("DEAD", "MARK", "RULES")

MARK = r"spatial_net\.inconv\.0\.weight"
"""A name that only these files have."""

DEAD: tuple[str, ...] = ()
"""Patterns of weights without any effect: there are none."""


def _stream_rules(net: str, stream: str, decoder: str) -> list[tuple[str, str]]:
    rules = [
        (rf"{net}\.inconv\.0\.(\w+)", rf"encoder.{stream}.conv1.\1"),
        (rf"{net}\.inconv\.1\.(\w+)", rf"encoder.{stream}.bn1.\1"),
        (rf"{net}\.encoder(\d)\.(.+)", rf"encoder.{stream}.layer\1.\2"),
    ]
    for index, part in enumerate(("conv", "norm")):
        rules.append((rf"{net}\.dilation(\d)\.{index}\.(\w+)", rf"{decoder}.bottom.branch\1.{part}.\2"))
    for stage in (1, 2, 3, 4):
        for index, part in enumerate(("conv", "norm")):
            bridge = f"encoder.fuse{stage + 1}.{stream}_bridge.{part}"
            rules.append((rf"{net}\.bridge{stage}\.{index}\.(\w+)", rf"{bridge}.\1"))
            head = f"{decoder}.head{stage + 1}.0.{part}"
            rules.append((rf"{net}\.out{stage}\.conv1\.{index}\.(\w+)", rf"{head}.\1"))
            for step in (0, 1, 2):
                place = f"{decoder}.decode{stage + 1}.{step}.{part}"
                rules.append((rf"{net}\.decoder{stage}\.layer\.{3 * step + index}\.(\w+)", rf"{place}.\1"))
        rules.append((rf"{net}\.out{stage}\.conv2\.(\w+)", rf"{decoder}.head{stage + 1}.1.\1"))
    return rules


def _transformer_rules(stage: int) -> list[tuple[str, str]]:
    transforms = {
        "SS": "appearance_frames",
        "TT": "motion_frames",
        "ST": "streams",
        "Sself": "appearance_self",
        "Tself": "motion_self",
    }
    rules = []
    for official, name in transforms.items():
        theirs, ours = f"{official}Transformer{stage}", f"encoder.connect{stage + 1}.{name}"
        rules += [
            (rf"{theirs}\.scaling\.fc1\.(\w+)", rf"{ours}.scaling.squeeze.\1"),
            (rf"{theirs}\.scaling\.fc2\.(\w+)", rf"{ours}.scaling.excite.\1"),
            (rf"{theirs}\.transformation1?\.(\w+\.\w+)", rf"{ours}.attention.\1"),
            (rf"{theirs}\.transformation2\.(\w+\.\w+)", rf"{ours}.attention_back.\1"),
            (rf"{theirs}\.gating\.conv\.0\.(\w+)", rf"{ours}.gate.conv.\1"),
        ]
    theirs, ours = f"Transformerstafm{stage}", f"encoder.fuse{stage + 1}.fusion"
    return [
        *rules,
        (rf"{theirs}\.channel\.fc1\.(\w+)", rf"{ours}.squeeze.\1"),
        (rf"{theirs}\.channel\.fc2\.(\w+)", rf"{ours}.excite.\1"),
        (rf"{theirs}\.spatial\.conv1\.(\w+)", rf"{ours}.spatial_conv.\1"),
    ]


RULES = (
    *_stream_rules("spatial_net", "appearance", "decoder"),
    *_stream_rules("temporal_net", "motion", "motion_decoder"),
    *(rule for stage in (1, 2, 3, 4) for rule in _transformer_rules(stage)),
)
"""Patterns of the official names and our names for them, tried in order."""
