# SPDX-License-Identifier: Apache-2.0
"""The names in the checkpoints of MATNet and of its variants (tfzhou/MATNet; MSiam/MATNet_FusionCrossConStudy).

They are two files, ``encoder_<epoch>.pt`` and ``decoder_<epoch>.pt``; before the names in each, ``encoder.`` or
``decoder.`` is put here. The study's files lack some of the dead weights.
"""

from __future__ import annotations

__all__ = ("DEAD", "MARK", "RULES")

MARK = r"encoder\.conv1_1\.weight|decoder\.GC\.conv_l1\.weight"
"""A name that only these files have."""

DEAD: tuple[str, ...] = (
    r"encoder\.coa_res\d\.(bottolneck[12]|bna|bnb)\..*",  # sic
    r"decoder\.RF\d\.(convFS1|pdc\.block[23]\.conv)\..*",
    r"decoder\.pred[345]\..*",
    r"encoder\.fuse\d\.gate\..*",  # there also where a network is built with use_global=False and ignores it
)
"""Patterns of names, after translation, of weights that had no effect; a model may have no place for them."""


def _encoder_rules() -> list[tuple[str, str]]:
    rules = []
    for number, stream in ((1, "appearance"), (2, "motion")):
        rules.append((rf"encoder\.(conv1|bn1)_{number}\.(\w+)", rf"encoder.{stream}.\1.\2"))
        rules += [
            (rf"encoder\.res{stage}_{number}\.(.+)", rf"encoder.{stream}.layer{stage - 1}.\1") for stage in (2, 3, 4, 5)
        ]
    attention = {
        "proj1": "select_appearance",
        "proj2": "select_motion",
        "proja": "embed_appearance",
        "projb": "embed_motion",
        r"rgating\.conv\.0": "gate",
    }
    for theirs, ours in attention.items():
        rules.append((rf"encoder\.coa_res(\d)\.{theirs}\.(\w+)", rf"encoder.connect\1.attention.{ours}.\2"))
    fusion = {
        r"excitation_1\.0|channel\.fc1": "squeeze",
        r"excitation_2\.0|channel\.fc2": "excite",
        r"global_attention\.0": "gate",
        r"spatial\.conv1?": "spatial_conv",
        r"spatial\.bn": "spatial_bn",
    }
    for theirs, ours in fusion.items():
        rules.append((rf"encoder\.gated_res(\d)\.(?:{theirs})\.(\w+)", rf"encoder.fuse\1.{ours}.\2"))
    return rules


RULES = (
    *_encoder_rules(),
    (r"decoder\.GC\.conv_l(\d)\.(\w+)", r"decoder.context.left\1.\2"),
    (r"decoder\.GC\.conv_r(\d)\.(\w+)", r"decoder.context.right\1.\2"),
    (r"decoder\.convG(\d)\.(\w+)", r"decoder.residual.conv\1.\2"),
    (r"decoder\.RF(\d)\.pdc\.block0\.(\w+)", r"decoder.refine\1.pyramid.pointwise.\2"),
    (r"decoder\.RF(\d)\.pdc\.block1\.conv\.(\w+)", r"decoder.refine\1.pyramid.dilated.\2"),
    (r"decoder\.RF(\d)\.pdc\.bn\.(\w+)", r"decoder.refine\1.pyramid.bn.\2"),
    (r"decoder\.RF(\d)\.convFS2\.(\w+)", r"decoder.refine\1.before.conv1.\2"),
    (r"decoder\.RF(\d)\.convFS3\.(\w+)", r"decoder.refine\1.before.conv2.\2"),
    (r"decoder\.RF(\d)\.convMM(\d)\.(\w+)", r"decoder.refine\1.after.conv\2.\3"),
    (r"decoder\.pred2\.(\w+)", r"decoder.predict.\1"),
    (r"decoder\.concat\.(\w+)", r"decoder.boundaries.fuse.\1"),
    (r"decoder\.bdry(\d)\.(\w+\.\w+)", r"decoder.boundaries.stage\1.\2"),
)
"""Patterns of the official names and our names for them, tried in order."""
