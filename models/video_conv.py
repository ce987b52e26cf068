# SPDX-License-Identifier: Apache-2.0
"""A 3-D convolution that is fast on a CPU: the same numbers as ``nn.Conv3d`` from the kernels that suit it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor
from torch.nn import functional

__all__ = ("VideoConv3d",)

# What oneDNN computes; the others keep PyTorch's own kernels.
DTYPES = (torch.float32, torch.bfloat16) if torch.backends.mkldnn.is_available() else ()  # type: ignore[no-untyped-call]


class VideoConv3d(nn.Conv3d):
    """An ``nn.Conv3d`` with the same arguments, weights and state dict, computed differently on a CPU.

    There the clip is laid out with its channels last in memory (``torch.channels_last_3d``), which the output keeps, so
    that a network of these converts its input once. A kernel that sees one frame is a 2-D convolution of the frames of
    all clips, a view of the same memory.

    On one thread, PyTorch computes kernels of one pixel by MKL's matrix product (on an AMD processor two to three times
    slower than oneDNN's convolution) unless they are dilated. Along an axis where the kernel has size 1 dilation
    changes nothing, so there these are declared dilated.

    On other devices, in other precisions than float32 and bfloat16, with groups, a dilation or another padding mode
    than zeros, and inside the transforms of ``torch.func``, it is ``nn.Conv3d``.

    Example:
        >>> import torch
        >>> conv, clip = VideoConv3d(3, 8, (1, 3, 3), padding=(0, 1, 1)), torch.randn(2, 3, 4, 6, 6)
        >>> expected = torch.nn.functional.conv3d(clip, conv.weight, conv.bias, padding=(0, 1, 1))
        >>> torch.allclose(conv(clip), expected, atol=1e-5)
        True
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in_channels, T, H, W)`` to ``(B, out_channels, T', H', W')``."""
        if not self._suits(x):
            return super().forward(x)
        x = x.contiguous(memory_format=torch.channels_last_3d)
        dilate = not torch.compiler.is_compiling() and torch.get_num_threads() == 1
        dilation = [2 if dilate and size == 1 else 1 for size in self.kernel_size]
        padding, stride = [int(size) for size in self.padding], list(self.stride)
        # With one frame flattened on the way, so that the gradient gets the strides of a contiguous weight, as
        # DistributedDataParallel wants it: those of axes of size 1 would be others.
        weight = self.weight
        shape, weight = weight.shape, weight.flatten(1) if self.kernel_size[0] == 1 else weight
        if self.kernel_size[0] > 1 or stride[0] > 1 or padding[0]:
            maps = functional.conv3d(x, weight.view(shape), self.bias, stride, padding, dilation)
            return maps.contiguous(memory_format=torch.channels_last_3d)  # PyTorch's own kernels give the usual layout
        images = x.transpose(1, 2).flatten(0, 1)
        kernel = weight.view(*shape[:2], *shape[3:])
        maps = functional.conv2d(images, kernel, self.bias, stride[1:], padding[1:], dilation[1:])
        # Through (B, T, H, W, C), so that axes of size 1 get the strides of the layout, too. With others, which mean
        # the same memory, nn.BatchNorm3d can give a wrong gradient (PyTorch 2.15), as it can for maps of one pixel in
        # the usual layout.
        pixels = maps.permute(0, 2, 3, 1).contiguous()
        return pixels.view(x.shape[0], x.shape[2], *pixels.shape[1:]).permute(0, 4, 1, 2, 3)

    def _suits(self, x: Tensor) -> bool:
        """Whether oneDNN computes this convolution of this input."""
        if x.device.type != "cpu" or x.ndim != 5 or x.dtype not in DTYPES or x.layout != torch.strided:
            return False
        # torch.func.vmap knows no layouts
        if not torch.compiler.is_compiling() and any(map(is_functorch_wrapped_tensor, (x, *self.parameters()))):
            return False
        plain = self.groups == 1 and self.dilation == (1, 1, 1) and self.padding_mode == "zeros"
        return plain and not isinstance(self.padding, str)
