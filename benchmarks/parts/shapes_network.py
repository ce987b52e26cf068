# SPDX-License-Identifier: Apache-2.0
"""The network of the study: a small 3-D ResNet of this package's parts, one block a stage."""

from __future__ import annotations

from torch import Tensor, nn

from staticdropout.models.heads import ClassificationHead
from staticdropout.models.resnet_layers import BasicBlock
from staticdropout.models.video_conv import VideoConv3d

STAGES = ("stem", "res2", "res3", "res4", "res5")


class ShapesNet(nn.Module):
    """Stem of stride 2, four residual blocks that see three frames each, average pool, linear."""

    def __init__(self, num_classes: int, width: int = 12) -> None:
        super().__init__()
        widths = [width * 2**stage for stage in range(4)]
        stem = VideoConv3d(3, width, 3, (1, 2, 2), 1, bias=False)
        self.stem = nn.Sequential(stem, nn.BatchNorm3d(width), nn.ReLU())
        self.res2 = BasicBlock(width, widths[0], 3, 2)
        self.res3 = BasicBlock(widths[0], widths[1], 3, 1)
        self.res4 = BasicBlock(widths[1], widths[2], 3, 2)
        self.res5 = BasicBlock(widths[2], widths[3], 3, 1)
        self.head = ClassificationHead(widths[3], num_classes, 0.0, None, "logits")
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, video: Tensor) -> Tensor:
        """Map ``(B, 3, T, H, W)`` to ``(B, num_classes)``."""
        logits: Tensor = self.head(self.res5(self.res4(self.res3(self.res2(self.stem(video))))))
        return logits
