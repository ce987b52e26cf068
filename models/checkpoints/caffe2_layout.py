# SPDX-License-Identifier: Apache-2.0
"""The names of blobs in caffe2 files, translated into SlowFast's as ``slowfast/utils/c2_model_loading.py`` does."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

__all__ = ("MARK", "caffe2_to_slowfast", "slowfast_weights")

MARK = r"(t_)?conv1_w"
"""A name that only these files have."""

BATCH_NORM = {"s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}  # riv is a plain variance
CONVOLUTION = re.compile(r".*\.(conv|conv_xy|conv_f2s|conv_\w+|branch1|branch2\.[abc])\.weight")
VIDEO_RANK = 5

# {p} is 1 for the fast pathway, whose names start with t_, and 0 otherwise.
RULES = (
    (r"conv1", r"s1.pathway{p}_stem.conv"),
    (r"res_conv1_bn", r"s1.pathway{p}_stem.bn"),
    (r"pool1_subsample", r"s1_fuse.conv_f2s"),
    (r"pool1_subsample_bn", r"s1_fuse.bn"),
    (r"res(\d+)_\d+_branch2c_bn_subsample", r"s\1_fuse.conv_f2s"),
    (r"res(\d+)_\d+_branch2c_bn_subsample_bn", r"s\1_fuse.bn"),
    (r"res(\d+)_(\d+)_branch1", r"s\1.pathway{p}_res\2.branch1"),
    (r"res(\d+)_(\d+)_branch1_bn", r"s\1.pathway{p}_res\2.branch1_bn"),
    (r"res(\d+)_(\d+)_branch2([abc])", r"s\1.pathway{p}_res\2.branch2.\3"),
    (r"res(\d+)_(\d+)_branch2([abc])_bn", r"s\1.pathway{p}_res\2.branch2.\3_bn"),
    (r"nonlocal_conv(\d+)_(\d+)_(theta|phi|g|out)", r"s\1.pathway{p}_nonlocal\2.conv_\3"),
    (r"nonlocal_conv(\d+)_(\d+)_bn", r"s\1.pathway{p}_nonlocal\2.bn"),
    (r"pred", r"head.projection"),
)


def caffe2_to_slowfast(name: str) -> str | None:
    """Translate the name of a caffe2 blob into SlowFast's; None for solver state, which is no weight.

    Example:
        >>> caffe2_to_slowfast("res3_1_branch2a_bn_riv")
        's3.pathway0_res1.branch2.a_bn.running_var'
        >>> caffe2_to_slowfast("t_pool1_subsample_w")
        's1_fuse.conv_f2s.weight'
        >>> caffe2_to_slowfast("pred_w_momentum")
    """
    if any(word in name for word in ("momentum", "lr", "model_iter")):
        return None
    body, _, kind = name.rpartition("_")
    leaves = BATCH_NORM if body.endswith("_bn") else {"w": "weight", "b": "bias"}
    if kind not in leaves:
        return name
    for pattern, replacement in RULES:
        if match := re.fullmatch(pattern, body.removeprefix("t_")):
            return f"{match.expand(replacement).format(p=int(body.startswith('t_')))}.{leaves[kind]}"
    return name


def slowfast_weights(blobs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Translate a whole file; kernels that were stored without their last axes of size 1 get them back.

    Example:
        >>> import torch
        >>> [(name, tuple(t.shape)) for name, t in slowfast_weights({"conv1_w": torch.ones(8, 3, 5)}).items()]
        [('s1.pathway0_stem.conv.weight', (8, 3, 5, 1, 1))]
    """
    weights = {}
    for blob, tensor in blobs.items():
        name = caffe2_to_slowfast(blob)
        if name is None:
            continue
        if CONVOLUTION.fullmatch(name) and tensor.ndim < VIDEO_RANK:
            tensor = tensor.reshape(*tensor.shape, *(1,) * (VIDEO_RANK - tensor.ndim))
        weights[name] = tensor
    return weights
