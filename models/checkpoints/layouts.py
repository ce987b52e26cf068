# SPDX-License-Identifier: Apache-2.0
"""The namings that weights come in, and their translation into ours.

Every translation is a list of patterns, tried in order. A name that none of them matches stays as it is, so that a
strict load reports it. The caffe2 names go by way of SlowFast's, as in ``slowfast/utils/c2_model_loading.py``. The
segmentation networks' patterns have files of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor

from ...errors import CheckpointMismatchError
from . import fusionseg_layout, matnet_layout, rtnet_layout

__all__ = ("caffe2_to_slowfast", "detect_layout", "is_dead", "to_own_names")

Rules = Sequence[tuple[str, str]]

BATCH_NORM = {"s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}  # riv is a plain variance

# {p} is 1 for the fast pathway, whose caffe2 names start with t_, and 0 otherwise.
CAFFE2_RULES: Rules = (
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

SLOWFAST_RULES: Rules = (
    (r"s1\.pathway\d_stem\.(conv|bn)\.(\w+)", r"stem.\1.\2"),
    (r"s(\d)\.pathway\d_res(\d+)\.branch1\.(\w+)", r"res\1.block\2.shortcut.conv.\3"),
    (r"s(\d)\.pathway\d_res(\d+)\.branch1_bn\.(\w+)", r"res\1.block\2.shortcut.bn.\3"),
    (r"s(\d)\.pathway\d_res(\d+)\.branch2\.([abc])\.(\w+)", r"res\1.block\2.conv_\3.\4"),
    (r"s(\d)\.pathway\d_res(\d+)\.branch2\.([abc])_bn\.(\w+)", r"res\1.block\2.bn_\3.\4"),
    (r"s(\d)\.pathway\d_nonlocal(\d+)\.(conv_theta|conv_phi|conv_g|conv_out|bn)\.(\w+)", r"res\1.nonlocal\2.\3.\4"),
    (r"head\.projection\.(\w+)", r"head.fc.\1"),
)

# Applied once blocks.N is known to be stage N, which depends on whether a pooling counts as a block.
PYTORCHVIDEO_RULES: Rules = (
    (r"blocks\.0\.conv\.(\w+)", r"stem.conv.\1"),
    (r"blocks\.0\.norm\.(\w+)", r"stem.bn.\1"),
    (r"(res\d)\.res_blocks\.(\d+)\.branch1_conv\.(\w+)", r"\1.block\2.shortcut.conv.\3"),
    (r"(res\d)\.res_blocks\.(\d+)\.branch1_norm\.(\w+)", r"\1.block\2.shortcut.bn.\3"),
    (r"(res\d)\.res_blocks\.(\d+)\.branch2\.conv_([abc])\.(\w+)", r"\1.block\2.conv_\3.\4"),
    (r"(res\d)\.res_blocks\.(\d+)\.branch2\.norm_([abc])\.(\w+)", r"\1.block\2.bn_\3.\4"),
    (r"blocks\.\d+\.proj\.(\w+)", r"head.fc.\1"),
)

SEGMENTATION = {"MATNet": matnet_layout, "FusionSeg": fusionseg_layout, "RTNet": rtnet_layout}

# The first pattern that any name matches decides.
LAYOUTS = (
    ("SlowFast", r"s\d\.pathway\d_.*"),
    ("PyTorchVideo", r"blocks\.0\.(multipathway_blocks\.\d\.)?(conv|norm)\..*"),
    ("caffe2", r"(t_)?conv1_w"),
    ("staticdropout", r"res2\.block0\..*|encoder\.appearance\.conv1\.weight"),
    *((name, layout.MARK) for name, layout in SEGMENTATION.items()),
    ("2-D ResNet", r"layer1\.0\.conv1\.weight"),
)


def _translate(name: str, rules: Rules) -> str | None:
    for pattern, replacement in rules:
        if match := re.fullmatch(pattern, name):
            return match.expand(replacement)
    return None


def detect_layout(names: Iterable[str]) -> str:
    """Tell whose naming a state dict is in.

    Returns:
        ``"SlowFast"``, ``"PyTorchVideo"``, ``"caffe2"``, ``"MATNet"``, ``"FusionSeg"``, ``"RTNet"``,
        ``"staticdropout"``, ``"2-D ResNet"`` or ``"unknown"``.

    Example:
        >>> detect_layout(["s1.pathway0_stem.conv.weight", "head.projection.bias"])
        'SlowFast'
    """
    names = list(names)
    for layout, pattern in LAYOUTS:
        if any(re.fullmatch(pattern, name) for name in names):
            return layout
    return "unknown"


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
    module = _translate(body.removeprefix("t_"), CAFFE2_RULES)
    if module is None or kind not in leaves:
        return name
    return f"{module.format(p=int(body.startswith('t_')))}.{leaves[kind]}"


def is_dead(name: str, layout: str) -> bool:
    """Tell whether a weight had no effect in the official network, so that a model may have no place for it.

    Args:
        name: as :func:`to_own_names` gives it.
        layout: as :func:`detect_layout` gives it.

    Example:
        >>> is_dead("decoder.pred5.weight", "MATNet"), is_dead("decoder.predict.weight", "MATNet")
        (True, False)
    """
    return layout in SEGMENTATION and any(re.fullmatch(pattern, name) for pattern in SEGMENTATION[layout].DEAD)


def to_own_names(weights: Mapping[str, Tensor], layout: str | None = None) -> dict[str, Tensor]:
    """Translate a state dict into the names of our networks: of a 3-D ResNet, or of a segmentation network.

    Args:
        weights: tensors by name, as :func:`read_checkpoint` gives them.
        layout: its naming; detected when left out.

    Returns:
        The same tensors; names that nothing is known about are kept as they are.

    Raises:
        CheckpointMismatchError: the weights are those of a SlowFast network of two pathways, or of a 2-D network.

    Example:
        >>> import torch
        >>> list(to_own_names({"s2.pathway1_res0.branch2.a_bn.bias": torch.zeros(8)}))
        ['res2.block0.bn_a.bias']
    """
    layout = layout or detect_layout(weights)
    if layout in SEGMENTATION:
        return {_translate(name, SEGMENTATION[layout].RULES) or name: tensor for name, tensor in weights.items()}
    if layout == "2-D ResNet":
        raise CheckpointMismatchError(
            "it holds a 2-D ResNet (layer1.0.conv1 …), which is no whole model here. A 3-D ResNet starts from it with "
            "inflate_from_timm, a segmentation network with pretrained=True."
        )
    if layout == "caffe2":
        translated = {caffe2_to_slowfast(name): tensor for name, tensor in weights.items()}
        weights = {name: tensor for name, tensor in translated.items() if name is not None}
    if len({match[1] for name in weights if (match := re.search(r"pathway(?:_blocks\.)?(\d)", name))}) > 1:
        raise CheckpointMismatchError(
            "it holds a SlowFast network of two pathways; a 3-D ResNet takes a file of one pathway."
        )
    if layout in ("caffe2", "SlowFast"):
        return {_translate(name, SLOWFAST_RULES) or name: tensor for name, tensor in weights.items()}
    if layout == "PyTorchVideo":
        staged = _name_stages(weights)
        return {_translate(name, PYTORCHVIDEO_RULES) or name: tensor for name, tensor in staged.items()}
    return dict(weights)


def _name_stages(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace ``blocks.N`` by ``res2`` … in order; a pooling after res2 counts as a block, but has no weights."""
    indices = sorted({int(match[1]) for name in weights if (match := re.match(r"blocks\.(\d+)\.res_blocks\.", name))})
    stage_of = {f"blocks.{index}.res_blocks.": f"res{stage + 2}.res_blocks." for stage, index in enumerate(indices)}
    staged = {}
    for name, tensor in weights.items():
        match = re.match(r"blocks\.\d+\.res_blocks\.", name)
        staged[stage_of[match[0]] + name.removeprefix(match[0]) if match else name] = tensor
    return staged
