# SPDX-License-Identifier: Apache-2.0
"""The segmenter learns, normalises, mirrors, scores at the annotation's size, and says what is wrong."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from lightning.pytorch import LightningDataModule, seed_everything
from segmentation_toys import HEIGHT, WIDTH, MovingSquares, TwoStreams, collate, squares
from torch import Tensor, nn
from toys import make_trainer, same_weights

from staticdropout.errors import BatchError, CheckpointError, OptionError, UnknownNameError
from staticdropout.lightning_modules import VideoClassifier, VideoObjectSegmenter
from staticdropout.lightning_modules.segmentation_evaluation import mask_probabilities
from staticdropout.models.segmentation import ResNetBackbone
from staticdropout.perturbations.flow_colours import flow_to_colour

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
SMALL = {"backbone": "resnet18", "backbone_args": {"channels": (8, 16, 32, 64)}}


class FromFlow(nn.Module):
    """Knows the answer: the object is where the flow image is not white."""

    def forward(self, image: Tensor, flow: Tensor) -> dict[str, Tensor]:
        return {"mask": 20 * (flow.amax(-3, keepdim=True) - flow.amin(-3, keepdim=True)) - 10}


class TopLeft(nn.Module):
    """Answers with the image's first channel, so that what a network sees can be read off."""

    def forward(self, image: Tensor, flow: Tensor) -> dict[str, Tensor]:
        return {"mask": image[..., :1, :, :] + 0 * flow[..., :1, :, :]}


def plain(model: nn.Module | None = None, **options: Any) -> VideoObjectSegmenter:
    return VideoObjectSegmenter(model or FromFlow(), mean=(0, 0, 0), std=(1, 1, 1), **options)


def test_training_on_flow_that_shows_the_object_ends_above_ninety(tmp_path: Path) -> None:
    seed_everything(0, verbose=False)
    module = VideoObjectSegmenter(
        TwoStreams(), optimizer=lambda parameters: torch.optim.Adam(parameters, 0.02), learning_rates={"model": 0.02}
    )
    trainer = make_trainer(tmp_path, max_epochs=12)
    trainer.fit(module, squares(), squares())
    assert trainer.callback_metrics["val/J"] > 90
    assert trainer.callback_metrics["val/JF"] > 90
    assert trainer.callback_metrics["train/loss"] < 0.3


def test_a_model_that_knows_the_answer_scores_a_hundred_at_the_annotations_size(tmp_path: Path) -> None:
    module = plain()
    (numbers,) = make_trainer(tmp_path).validate(module, squares(), verbose=False)
    assert numbers["val/J"] > 95
    assert numbers["val/F"] == pytest.approx(100)
    assert module.result.num_frames == 6, "three sequences of four frames, without first and last"


def test_results_by_sequence_and_frame_are_printed_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_trainer(tmp_path).validate(plain(), squares(), verbose=False)
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("square_0", "square_2", "J&F", "6 frames", "mean"))
    rows = list(csv.DictReader((tmp_path / "segmentation/val_sequences.csv").open()))
    assert [row["sequence"] for row in rows] == ["square_0", "square_1", "square_2", "mean"]
    frames = list(csv.DictReader((tmp_path / "segmentation/val_frames.csv").open()))
    assert len(frames) == 6


def test_frames_that_were_not_predicted_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_trainer(tmp_path, limit_val_batches=2).validate(plain(), squares(batch_size=3), verbose=False)
    shown = " ".join(capsys.readouterr().out.split())
    assert "Not a benchmark result: 1 frames of 1 sequences were not predicted" in shown


def test_forward_normalises_images_and_every_part_of_the_flow() -> None:
    seen: dict[str, Tensor] = {}

    class Watch(nn.Module):
        def forward(self, image: Tensor, flow: Tensor) -> dict[str, Tensor]:
            seen.update(image=image, flow=flow)
            return {"mask": image[..., :1, :, :]}

    module = VideoObjectSegmenter(Watch())
    image, flow = torch.rand(2, 2, 3, 4, 4), torch.rand(2, 2, 6, 4, 4)
    module(image, flow)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    for given, name in ((image, "image"), (flow[:, :, :3], "flow"), (flow[:, :, 3:], "flow2")):
        found = seen["flow"][:, :, 3:] if name == "flow2" else seen[name][:, :, :3]
        expected = (given.numpy() - mean[:, None, None]) / std[:, None, None]
        np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)


def test_pictures_become_floats_on_the_device_and_masks_keep_their_values() -> None:
    batch = next(iter(squares()))
    ready = plain().on_after_batch_transfer(batch, 0)
    assert ready["image"].max() <= 1
    assert ready["flow"].dtype == torch.float32
    assert set(ready["mask"].unique().tolist()) == {0.0, 1.0}
    assert batch["image"].dtype == torch.uint8, "the loader's batch is left alone"


def test_flip_averaging_is_the_mean_of_both_views() -> None:
    torch.manual_seed(0)
    image, flow = torch.rand(1, 3, 6, 8), torch.ones(1, 3, 6, 8)
    module = plain(TopLeft(), flip_average=True)
    probability = module._logits({"image": image, "flow": flow})["mask"].sigmoid()
    torch.testing.assert_close(probability, image[:, :1].sigmoid(), msg="mirrored twice it is the same picture")

    class Ramp(nn.Module):
        def forward(self, image: Tensor, flow: Tensor) -> dict[str, Tensor]:
            return {"mask": image[:, :1] * torch.arange(image.shape[-1])}

    module = plain(Ramp(), flip_average=True)
    probability = module._logits({"image": image, "flow": flow})["mask"].sigmoid()
    columns = torch.arange(8)
    expected = ((image[:, :1] * columns).sigmoid() + (image[:, :1] * columns.flip(0)).sigmoid()) / 2
    torch.testing.assert_close(probability, expected)


@pytest.mark.parametrize("turn", [True, False])
def test_the_mirror_image_has_its_flow_turned_unless_told_otherwise(turn: bool) -> None:
    seen: list[Tensor] = []

    class Watch(nn.Module):
        def forward(self, image: Tensor, flow: Tensor) -> dict[str, Tensor]:
            seen.append(flow)
            return {"mask": image[:, :1]}

    flow = torch.zeros(1, 2, 4, 6)
    flow[:, 0, :, :2] = 3.0  # the left part of the picture moves to the right
    mirrored = torch.zeros(1, 2, 4, 6)
    mirrored[:, 0, :, 4:] = -3.0 if turn else 3.0
    module = plain(Watch(), flip_average=True, turn_flow=turn)
    module._logits({"image": torch.rand(1, 3, 4, 6), "flow": flow_to_colour(flow)})
    torch.testing.assert_close(seen[1], flow_to_colour(mirrored), atol=0.02, rtol=0)


@pytest.mark.parametrize("turn", [True, False])
def test_flip_averaging_leaves_a_right_answer_right(turn: bool, tmp_path: Path) -> None:
    module = plain(flip_average=True, turn_flow=turn)
    (numbers,) = make_trainer(tmp_path).validate(module, squares(), verbose=False)
    assert numbers["val/F"] == pytest.approx(100)


def test_random_sizes_resize_the_whole_training_batch() -> None:
    module = plain(random_sizes=[(12, 16), (24, 48)])
    batch = module.on_after_batch_transfer(next(iter(squares())), 0)
    torch.manual_seed(0)
    shapes = set()
    for _ in range(20):
        image, flow, mask, _ = module._resized(batch)
        assert image.shape[-2:] == flow.shape[-2:] == mask.shape[-2:]
        assert ((mask == 0) | (mask == 1)).all()
        shapes.add(tuple(image.shape[-2:]))
    assert shapes == {(12, 16), (24, 48)}


@pytest.mark.parametrize("batch_statistics", [True, False])
def test_without_batch_statistics_training_leaves_the_running_ones(tmp_path: Path, batch_statistics: bool) -> None:
    module = VideoObjectSegmenter(TwoStreams(), batch_statistics=batch_statistics)
    make_trainer(tmp_path, max_epochs=1).fit(module, squares())
    assert isinstance(module.model, TwoStreams)
    norm = module.model.motion[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.num_batches_tracked == (3 if batch_statistics else 0)


def test_moca_is_scored_by_boxes(tmp_path: Path) -> None:
    class WithBoxes(MovingSquares):
        def __getitem__(self, index: int) -> dict[str, Any]:
            item = super().__getitem__(index)
            ys, xs = np.nonzero(item["mask"][0].numpy())
            x, y = xs.min(), ys.min()
            width, height = xs.max() - x + 1, ys.max() - y + 1
            box = 40.0 * np.array([x, y, width, height])  # pictures of the box file are forty times as large
            size = [40 * HEIGHT, 40 * WIDTH]
            del item["annotation"], item["mask"]
            return item | {"box": box.astype(np.float32), "box_size": np.array(size), "motion": index % 2}

    loader = torch.utils.data.DataLoader(WithBoxes(), 4)
    module = plain(scores="moca")
    (numbers,) = make_trainer(tmp_path).validate(module, loader, verbose=False)
    assert numbers["val/mIoU"] > 95
    assert numbers["val/success_0.9"] == 100
    assert set(module.result.motions) == {"locomotion", "deformation"}


def test_predict_gives_names_and_probabilities(tmp_path: Path) -> None:
    predicted: Any = make_trainer(tmp_path).predict(plain(), squares())
    first = predicted[0]
    assert first["id"][:2] == ["square_0/00000", "square_0/00001"]
    assert first["probability"][0].shape == (2 * HEIGHT, 2 * WIDTH)


def test_a_registered_network_is_built_by_name_and_its_recipe_reaches_encoder_and_decoder() -> None:
    module = VideoObjectSegmenter(
        "matnet", SMALL, learning_rates={"model.encoder": 1e-4, "model.decoder": 1e-3}, boundary_weight=0.2
    )
    groups = module.configure_optimizers().param_groups
    assert sorted(group["lr"] for group in groups) == [1e-4, 1e-3]
    assert {group["weight_decay"] for group in groups} == {5e-4}
    assert sum(len(group["params"]) for group in groups) == len(list(module.parameters()))


def test_wrong_options_batches_and_models_are_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"no model called 'matnett'.*Close matches: matnet"):
        VideoObjectSegmenter("matnett")
    with pytest.raises(OptionError, match="slowonly_r50 is no segmentation network"):
        VideoObjectSegmenter("slowonly_r50")
    with pytest.raises(OptionError, match="threshold=0"):
        plain(threshold=0)
    with pytest.raises(UnknownNameError, match="'davos'"):
        plain(scores="davos")
    with pytest.raises(OptionError, match="model_args are for models by name"):
        VideoObjectSegmenter(FromFlow(), {"backbone": "resnet18"})
    with pytest.raises(BatchError, match=r"keys image, flow, mask and id, found \['video'\]"):
        plain().on_after_batch_transfer({"video": torch.zeros(1)}, 0)
    with pytest.raises(BatchError, match="needs masks"):
        plain().training_step({"image": torch.zeros(1, 3, 4, 4), "flow": torch.zeros(1, 3, 4, 4)}, 0)
    (tmp_path / "x.pt").write_bytes(b"nothing")
    with pytest.raises(CheckpointError):
        VideoObjectSegmenter("matnet", SMALL, checkpoint=str(tmp_path / "x.pt"))


def test_a_segmentation_network_is_refused_as_a_classifier() -> None:
    with pytest.raises(OptionError, match="VideoObjectSegmenter"):
        VideoClassifier("matnet")


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """A file with weights of a narrow ResNet-18 that differ from any initialisation."""
    network = timm.create_model("resnet18", channels=(8, 16, 32, 64))
    weights = {name: torch.full_like(value, 0.01) for name, value in network.state_dict().items()}
    torch.save(weights, tmp_path / "imagenet.pth")
    return tmp_path / "imagenet.pth"


def small_batches() -> torch.utils.data.DataLoader[Any]:
    return squares(batch_size=2, sequences=1, frames=2)


def test_a_training_starts_from_given_backbone_weights_and_a_second_one_goes_on(tmp_path: Path, imagenet: Path) -> None:
    module = VideoObjectSegmenter("matnet", SMALL, pretrained=str(imagenet), optimizer=partial(torch.optim.SGD, lr=0.0))
    convolution = module.model.get_submodule("encoder.motion.layer1.0.conv1")
    assert isinstance(convolution, nn.Conv2d)
    make_trainer(tmp_path).validate(module, small_batches(), verbose=False)
    assert not (convolution.weight == 0.01).all(), "a validation takes the weights that are there"
    make_trainer(tmp_path, max_epochs=1).fit(module, small_batches())
    assert (convolution.weight == 0.01).all()
    with torch.no_grad():
        convolution.weight.fill_(0.5)
    make_trainer(tmp_path, max_epochs=1).fit(module, small_batches())
    assert (convolution.weight == 0.5).all()


def test_loaded_weights_come_before_those_of_imagenet(tmp_path: Path, imagenet: Path) -> None:
    module = VideoObjectSegmenter("matnet", SMALL, pretrained=str(imagenet), optimizer=partial(torch.optim.SGD, lr=0.0))
    other = VideoObjectSegmenter("matnet", SMALL)
    module.load_state_dict(other.state_dict())
    make_trainer(tmp_path, max_epochs=1).fit(module, small_batches())
    assert torch.equal(
        module.model.get_parameter("encoder.motion.conv1.weight"),
        other.model.get_parameter("encoder.motion.conv1.weight"),
    )


def test_without_a_network_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = VideoObjectSegmenter("matnet", SMALL, pretrained=True)

    def offline(*args: Any, **kwargs: Any) -> None:
        raise OSError("We couldn't connect to the hub")

    for backbone in (part for part in module.model.modules() if isinstance(part, ResNetBackbone)):
        monkeypatch.setattr(backbone, "_make", partial(offline, "resnet18"))
    with pytest.raises(CheckpointError, match=r"resnet18 \(OSError: We couldn't connect.*--model\.pretrained false"):
        make_trainer(tmp_path).fit(module, small_batches())


@pytest.mark.parametrize("turn", [True, False])
def test_flip_averaging_takes_clips_of_two_frames(turn: bool) -> None:
    seen: list[Tensor] = []

    class Watch(nn.Module):
        def forward(self, image: Tensor, flow: Tensor) -> dict[str, Tensor]:
            seen.append(flow)
            return {"mask": image[:, :, :1]}

    forward = torch.zeros(1, 2, 2, 4, 6)
    forward[:, :, 0, :, :2] = 3.0
    flow = torch.cat([flow_to_colour(forward), flow_to_colour(-forward)], dim=2)
    plain(Watch(), flip_average=True, turn_flow=turn)._logits({"image": torch.rand(1, 2, 3, 4, 6), "flow": flow})
    sign = -1 if turn else 1
    mirrored = torch.cat([flow_to_colour(sign * forward.flip(-1)), flow_to_colour(-sign * forward.flip(-1))], dim=2)
    torch.testing.assert_close(seen[1], mirrored, atol=0.02, rtol=0)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_every_precision_trains_and_validates(tmp_path: Path, precision: str) -> None:
    module = VideoObjectSegmenter(TwoStreams(), ssim_weight=1.0, iou_weight=1.0)
    trainer = make_trainer(tmp_path, precision=precision, max_epochs=1)
    trainer.fit(module, squares(), squares())
    assert trainer.callback_metrics["train/loss"].isfinite()
    assert 0 <= trainer.callback_metrics["val/J"] <= 100


def test_the_sanity_check_leaves_no_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = VideoObjectSegmenter(TwoStreams())
    trainer = make_trainer(tmp_path, max_steps=1, max_epochs=-1, num_sanity_val_steps=2, val_check_interval=3)
    trainer.fit(module, squares(), squares())
    assert module.result is None
    assert "Last validation" not in capsys.readouterr().out


def test_the_loss_of_a_validation_leaves_frames_without_annotation_out(tmp_path: Path) -> None:
    class HalfLabelled(MovingSquares):
        def __getitem__(self, index: int) -> dict[str, Any]:
            item = super().__getitem__(index)
            if index % 2:
                item["mask"], item["annotation"] = torch.zeros_like(item["mask"]), None
            return item

    loader = torch.utils.data.DataLoader(HalfLabelled(), 4, collate_fn=collate)
    (numbers,) = make_trainer(tmp_path).validate(plain(), loader, verbose=False)
    (whole,) = make_trainer(tmp_path).validate(plain(), squares(), verbose=False)
    assert numbers["val/loss"] == pytest.approx(whole["val/loss"], rel=0.2), "empty masks would cost far more"


def test_rtnets_second_frame_does_not_count_in_the_loss_of_a_validation(tmp_path: Path) -> None:
    class Pairs(MovingSquares):
        def __getitem__(self, index: int) -> dict[str, Any]:
            item = super().__getitem__(index)
            image, flow, mask = item["image"], torch.cat([item["flow"]] * 2), item["mask"]
            return item | {
                "image": torch.stack([image] * 2),
                "flow": torch.stack([flow] * 2),
                "mask": torch.stack([mask, torch.zeros_like(mask)]),
            }

    loader = torch.utils.data.DataLoader(Pairs(), 4, collate_fn=collate)
    (numbers,) = make_trainer(tmp_path).validate(plain(), loader, verbose=False)
    (single,) = make_trainer(tmp_path).validate(plain(), squares(), verbose=False)
    assert numbers["val/loss"] == pytest.approx(single["val/loss"])
    assert numbers["val/J"] == pytest.approx(single["val/J"])


@pytest.mark.parametrize(
    ("option", "mine", "theirs"), [("flow_encoding", "middlebury", "hsv"), ("turn_flow", True, False)]
)
def test_a_data_module_that_was_told_something_else_is_refused(
    tmp_path: Path, option: str, mine: Any, theirs: Any
) -> None:
    class Data(LightningDataModule):
        def val_dataloader(self) -> Any:
            return squares()

    data = Data()
    setattr(data, option, theirs)
    with pytest.raises(OptionError, match=f"{option} is {mine!r} in the model and {theirs!r} in the data"):
        make_trainer(tmp_path).validate(plain(**{option: mine}), datamodule=data)


@pytest.mark.parametrize("name", ["matnet_nobar", "rtnet34"])
def test_a_checkpoint_knows_its_network_and_needs_no_other_file(tmp_path: Path, name: str, imagenet: Path) -> None:
    module = VideoObjectSegmenter(name, SMALL, pretrained=str(imagenet), threshold=0.4)
    trainer = make_trainer(tmp_path)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "module.ckpt")
    imagenet.unlink()
    again = VideoObjectSegmenter.load_from_checkpoint(tmp_path / "module.ckpt")
    assert type(again.model) is type(module.model)
    assert again.threshold == 0.4
    assert same_weights(again, module)


def test_rtnets_way_to_the_annotations_size_is_an_option() -> None:
    logits = torch.tensor([[[[-2.0, 2.0]]]])
    (plain_map,) = mask_probabilities(logits, [(1, 4)])
    (aligned,) = mask_probabilities(logits, [(1, 4)], align_corners=True)
    (stretched,) = mask_probabilities(logits, [(1, 4)], align_corners=True, stretch=True)
    low, high = torch.tensor([-2.0, 2.0]).sigmoid()
    torch.testing.assert_close(aligned[0], torch.linspace(float(low), float(high), 4))
    torch.testing.assert_close(stretched[0], torch.linspace(0, 1, 4))
    assert not torch.allclose(plain_map, aligned)
