# SPDX-License-Identifier: Apache-2.0
"""What is captured in models of other people: one row a clip, and the channels where these models have them."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule
from projects import frame_models, mvit, swin3d, video_mae
from projects.moving_squares import Sizes
from torch import Tensor

from staticdropout.callbacks import VideoInputs
from staticdropout.models import capture


def captured(module: LightningModule, batch: Any, layers: list[str], **options: Any) -> dict[str, Tensor]:
    """As the callbacks capture them."""
    inputs = VideoInputs()
    video = inputs.find(batch)
    with torch.no_grad(), capture(module, layers, batch_size=len(video), **options) as run:
        features: dict[str, Tensor] = run(inputs.call, module.eval(), video, batch)
    return features


def assert_same(found: Tensor, rows: list[Tensor]) -> None:
    torch.testing.assert_close(found, torch.stack(rows), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_frame_model_gives_a_clip_the_mean_over_its_frames() -> None:
    torch.manual_seed(0)
    module = frame_models.FrameClassifier("gru")
    batch = next(iter(frame_models.loaders(Sizes(4, 4, 4, 32))[1]))
    found = captured(module, batch, ["model.backbone.layer*", "model.fc[input]"])
    net: Any = module.model
    clips = batch[0]
    for stage in (1, 2, 3, 4):
        rows = []
        for clip in clips:
            frames = []
            for frame in clip:
                features = net.backbone.maxpool(net.backbone.act1(net.backbone.bn1(net.backbone.conv1(frame[None]))))
                for number in range(1, stage + 1):
                    features = getattr(net.backbone, f"layer{number}")(features)
                frames.append(features[0].mean((1, 2)))
            rows.append(torch.stack(frames).mean(0))
        assert_same(found[f"model.backbone.layer{stage}"], rows)
    last = [net.gru(net.backbone(clip)[None])[0][0, -1] for clip in clips]
    assert_same(found["model.fc[input]"], last)


@torch.no_grad()
def test_swin_has_its_channels_last() -> None:
    torch.manual_seed(0)
    module = swin3d.WindowedTransformer()
    batch = next(iter(swin3d.loaders(Sizes(2, 2, 2, 32))[1]))
    found = captured(module, batch, ["net.features.*", "net.norm"])
    features = (batch.frames.permute(0, 4, 1, 2, 3) / 255 - 0.45) / 0.225
    features = module.net.patch_embed(features)
    for number, stage in enumerate(module.net.features):
        features = stage(features)
        assert_same(found[f"net.features.{number}"], list(features.mean((1, 2, 3))))
    assert_same(found["net.norm"], list(module.net.norm(features).mean((1, 2, 3))))


@torch.no_grad()
def test_mvit_gives_tokens_and_their_grid() -> None:
    torch.manual_seed(0)
    module = mvit.Transformer(size=32).eval()
    batch = next(iter(mvit.loaders(Sizes(2, 2, 2, 32))[1]))
    found = captured(module, batch, ["model.blocks.*[0]", "model.norm"])
    net = module.model
    tokens = net.pos_encoding(net.conv_proj(batch["clip"]).flatten(2).transpose(1, 2))
    grid = (4, 8, 8)
    for number, block in enumerate(net.blocks):
        tokens, grid = block(tokens, grid)
        assert_same(found[f"model.blocks.{number}[0]"], list(tokens.mean(1)))
    assert len(found) == 17


@torch.no_grad()
def test_a_model_of_hugging_faces_kind_gives_tokens() -> None:
    torch.manual_seed(0)
    module = video_mae.HuggingFaceProject()
    batch = next(iter(video_mae.loaders(Sizes(2, 2, 2, 32))[1]))
    found = captured(module, batch, ["model.encoder.layer.*", "model.classifier[input]"])
    encoder = module.model.encoder
    tokens = encoder.patch_embeddings(batch["pixel_values"].transpose(1, 2)).flatten(2).transpose(1, 2)
    tokens = tokens + encoder.position_embeddings
    for number, layer in enumerate(encoder.layer):
        tokens = layer(tokens)
        assert_same(found[f"model.encoder.layer.{number}"], list(tokens.mean(1)))
    assert_same(found["model.classifier[input]"], list(module.model.fc_norm(tokens.mean(1))))
