# SPDX-License-Identifier: Apache-2.0
"""The names of 3-D ResNets (C2D, I3D, SlowOnly, FastOnly) and of SlowFast networks of two pathways.

SlowFast counts pathways: 0 is the slow or the only one, 1 the fast one; its FastOnly is pathway 1 throughout.
PyTorchVideo counts blocks: a pooling after res2 (C2D, I3D) is one of them and moves what follows by one.
"""

from __future__ import annotations

from functools import cache

from .name_table import NameTable, Row

__all__ = (
    "SLOWFAST_BLOCKS",
    "SLOWFAST_HEAD",
    "pytorchvideo_blocks",
    "pytorchvideo_resnet",
    "pytorchvideo_two_pathways",
    "slowfast_resnet",
    "slowfast_two_pathways",
)

STAGES = (2, 3, 4, 5)

# <p> is the pathway, <own> what our names of this pathway begin with.
SLOWFAST_STEM: tuple[Row, ...] = (("s1.pathway<p>_stem.{part}.{leaf}", "<own>stem.{part}.{leaf}"),)
SLOWFAST_BLOCKS: tuple[Row, ...] = (
    ("s{stage}.pathway<p>_res{block}.branch1.{leaf}", "<own>res{stage}.block{block}.shortcut.conv.{leaf}"),
    ("s{stage}.pathway<p>_res{block}.branch1_bn.{leaf}", "<own>res{stage}.block{block}.shortcut.bn.{leaf}"),
    ("s{stage}.pathway<p>_res{block}.branch2.{letter}.{leaf}", "<own>res{stage}.block{block}.conv_{letter}.{leaf}"),
    ("s{stage}.pathway<p>_res{block}.branch2.{letter}_bn.{leaf}", "<own>res{stage}.block{block}.bn_{letter}.{leaf}"),
    ("s{stage}.pathway<p>_nonlocal{block}.{embedding}.{leaf}", "<own>res{stage}.nonlocal{block}.{embedding}.{leaf}"),
)
SLOWFAST_FUSION: tuple[Row, ...] = (
    ("s{stage}_fuse.conv_f2s.{leaf}", "fuse{stage}.conv.{leaf}"),
    ("s{stage}_fuse.bn.{leaf}", "fuse{stage}.bn.{leaf}"),
)
SLOWFAST_HEAD: tuple[Row, ...] = (("head.projection.{leaf}", "head.fc.{leaf}"),)

# <i> is the block's index, <n> our number of the stage, <in> the list that blocks of two pathways are in.
PYTORCHVIDEO_STEM: tuple[Row, ...] = (
    ("blocks.0.<in>conv.{leaf}", "<own>stem.conv.{leaf}"),
    ("blocks.0.<in>norm.{leaf}", "<own>stem.bn.{leaf}"),
)
PYTORCHVIDEO_BLOCKS: tuple[Row, ...] = (
    ("blocks.<i>.<in>res_blocks.{block}.branch1_conv.{leaf}", "<own>res<n>.block{block}.shortcut.conv.{leaf}"),
    ("blocks.<i>.<in>res_blocks.{block}.branch1_norm.{leaf}", "<own>res<n>.block{block}.shortcut.bn.{leaf}"),
    ("blocks.<i>.<in>res_blocks.{block}.branch2.conv_{letter}.{leaf}", "<own>res<n>.block{block}.conv_{letter}.{leaf}"),
    ("blocks.<i>.<in>res_blocks.{block}.branch2.norm_{letter}.{leaf}", "<own>res<n>.block{block}.bn_{letter}.{leaf}"),
)
PYTORCHVIDEO_FUSION: tuple[Row, ...] = (
    ("blocks.<i>.multipathway_fusion.conv_fast_to_slow.{leaf}", "fuse<n>.conv.{leaf}"),
    ("blocks.<i>.multipathway_fusion.norm.{leaf}", "fuse<n>.bn.{leaf}"),
)


def _fill(rows: tuple[Row, ...], **values: object) -> tuple[Row, ...]:
    for key, value in values.items():
        mark = f"<{key.rstrip('_')}>"
        rows = tuple((official.replace(mark, str(value)), own.replace(mark, str(value))) for official, own in rows)
    return rows


def pytorchvideo_blocks(
    own: str = "", within: str = "", pooled: bool = False, rows: tuple[Row, ...] = PYTORCHVIDEO_BLOCKS
) -> tuple[Row, ...]:
    """Return the rows of all four stages, with the number of each stage filled in."""
    filled: tuple[Row, ...] = ()
    for stage in STAGES:
        index = stage - 1 + (pooled and stage > STAGES[0])
        filled += _fill(rows, i=index, n=stage, own=own, in_=within)
    return filled


@cache
def slowfast_resnet(pathway: int = 0) -> NameTable:
    """SlowFast's names of a network of one pathway.

    Example:
        >>> slowfast_resnet(pathway=1).to_official("res3.block0.bn_a.bias")
        's3.pathway1_res0.branch2.a_bn.bias'
    """
    return NameTable((*_fill(SLOWFAST_STEM + SLOWFAST_BLOCKS, p=pathway, own=""), *SLOWFAST_HEAD))


@cache
def slowfast_two_pathways() -> NameTable:
    """SlowFast's names of a network of two pathways.

    Example:
        >>> slowfast_two_pathways().to_own("s1.pathway1_stem.conv.weight")
        'fast.stem.conv.weight'
    """
    rows = SLOWFAST_STEM + SLOWFAST_BLOCKS
    pathways = (*_fill(rows, p=0, own="slow."), *_fill(rows, p=1, own="fast."))
    return NameTable((*pathways, *SLOWFAST_FUSION, *SLOWFAST_HEAD))


@cache
def pytorchvideo_resnet(pooled: bool = False) -> NameTable:
    """PyTorchVideo's names of a network of one pathway; ``pooled`` where frames are pooled after res2.

    Example:
        >>> pytorchvideo_resnet(pooled=True).to_official("res3.block0.bn_a.bias")
        'blocks.3.res_blocks.0.branch2.norm_a.bias'
    """
    head = ((f"blocks.{6 if pooled else 5}.proj.{{leaf}}", "head.fc.{leaf}"),)
    stem = _fill(PYTORCHVIDEO_STEM, own="", in_="")
    return NameTable((*stem, *pytorchvideo_blocks(pooled=pooled), *head))


@cache
def pytorchvideo_two_pathways() -> NameTable:
    """PyTorchVideo's names of a network of two pathways; its block 5 is a pooling.

    Example:
        >>> pytorchvideo_two_pathways().to_own("blocks.1.multipathway_fusion.norm.bias")
        'fuse2.bn.bias'
    """
    rows: tuple[Row, ...] = (("blocks.6.proj.{leaf}", "head.fc.{leaf}"),)
    for number, pathway in enumerate(("slow.", "fast.")):
        within = f"multipathway_blocks.{number}."
        rows += _fill(PYTORCHVIDEO_STEM, own=pathway, in_=within) + pytorchvideo_blocks(pathway, within)
    for stage in (1, *STAGES[:-1]):
        rows += _fill(PYTORCHVIDEO_FUSION, i=stage - 1, n=stage)
    return NameTable(rows)
