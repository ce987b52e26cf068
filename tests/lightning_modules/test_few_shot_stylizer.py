# SPDX-License-Identifier: Apache-2.0
"""FewShotStylizer: its steps are those of the official code, its checkpoints are styles, and it learns a style."""

from __future__ import annotations

import copy
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from keyframe_toys import drifting_clip, write_keyframes
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything
from resuming import after_every_step
from torch import Tensor, nn
from torch.nn import functional as F
from toys import loader_of, make_trainer, same_weights

from staticdropout.datamodules.keyframes import KeyframeDataModule
from staticdropout.errors import BatchError, CheckpointError, OptionError
from staticdropout.lightning_modules.few_shot_stylizer import FewShotStylizer
from staticdropout.models.stylization import PerceptualDistance, load_generator
from staticdropout.perturbations.styles import get_style

SMALL: dict[str, Any] = {"blocks": 1, "filters": [8] * 6, "discriminator_filters": 4}
CLIP = drifting_clip()


@pytest.fixture
def train(tmp_path: Path) -> Path:
    return write_keyframes(tmp_path, CLIP, 1 - CLIP)


@pytest.fixture
def vgg(tmp_path: Path) -> str:
    """A file with random weights of VGG19's first layers."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for index, (inputs, outputs) in {0: (3, 64), 2: (64, 64), 5: (64, 128)}.items():
        weights[f"features.{index}.weight"] = (
            torch.randn(outputs, inputs, 3, 3, generator=generator) / (3 * inputs) ** 0.5
        )
        weights[f"features.{index}.bias"] = torch.randn(outputs, generator=generator)
    torch.save(weights, tmp_path / "vgg19.pth")
    return str(tmp_path / "vgg19.pth")


def data_of(root: Path, **options: Any) -> KeyframeDataModule:
    return KeyframeDataModule(str(root), **({"batch_size": 3, "batches_per_epoch": 4} | options))


def patches(count: int, channels: int = 3) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(5)
    widths = {"input": channels, "target": 3, "reference": 3}
    return [
        {name: 2 * torch.rand(2, width, 32, 32, generator=generator) - 1 for name, width in widths.items()}
        for _ in range(count)
    ]


def fitted(module: FewShotStylizer, batches: list[dict[str, Tensor]], folder: Path) -> Trainer:
    trainer = make_trainer(folder, max_epochs=1)
    trainer.fit(module, loader_of(batches, None))
    return trainer


def official_steps(module: FewShotStylizer, batches: list[dict[str, Tensor]], vgg: PerceptualDistance | None) -> None:
    """The order of work of the official trainers.py: generator anew for each of the two steps, no toggling."""
    generator, discriminator = module.generator, module.discriminator
    settings = {"lr": 4e-4, "betas": (0.9, 0.999), "weight_decay": 1e-5}
    of_generator = torch.optim.Adam(generator.parameters(), **settings)  # type: ignore[arg-type]
    of_discriminator = torch.optim.Adam(discriminator.parameters(), **settings)  # type: ignore[arg-type]
    mse = nn.MSELoss()
    for batch in batches:
        of_discriminator.zero_grad()
        fake, true = discriminator(generator(batch["input"]).detach()), discriminator(batch["reference"])
        (mse(fake, torch.zeros_like(fake)) + mse(true, torch.ones_like(true))).backward()
        of_discriminator.step()
        of_generator.zero_grad()
        generated = generator(batch["input"])
        fake = discriminator(generated)
        loss = 4 * F.l1_loss(generated, batch["target"]) + 0.5 * mse(fake, torch.ones_like(fake))
        if vgg is not None:
            loss = loss + 6 * vgg(generated, batch["target"])
        loss.backward()
        of_generator.step()


@pytest.mark.parametrize("perceptual", [False, True])
def test_its_steps_are_those_of_the_official_trainer(tmp_path: Path, vgg: str, perceptual: bool) -> None:
    weights = vgg if perceptual else None
    seed_everything(0, verbose=False)
    module = FewShotStylizer(weights, **SMALL).double()  # Adam makes much of rounding where a gradient is small
    batches = [{name: pixels.double() for name, pixels in batch.items()} for batch in patches(4)]
    reference, before = copy.deepcopy(module), copy.deepcopy(module)
    if perceptual:
        module._perceptual.append(PerceptualDistance(vgg).double())
    fitted(module, batches, tmp_path)
    official_steps(reference, batches, PerceptualDistance(vgg).double() if perceptual else None)
    for name, expected in reference.named_parameters():
        found = module.get_parameter(name)
        if name.endswith((".conv.bias", ".conv_0.bias")):  # BatchNorm takes it away: its gradient is rounding
            continue
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
        assert not torch.equal(found, before.get_parameter(name)), name


def test_a_step_of_the_trainer_is_a_batch_and_the_losses_are_logged(tmp_path: Path, vgg: str) -> None:
    trainer = fitted(FewShotStylizer(vgg, **SMALL), patches(3), tmp_path)
    assert trainer.global_step == 3
    names = {"train/l1", "train/perceptual", "train/adversarial", "train/discriminator"}
    assert trainer.callback_metrics.keys() == names
    plain = fitted(FewShotStylizer(adversarial_weight=0, **SMALL), patches(1), tmp_path)
    assert plain.callback_metrics.keys() == {"train/l1"}


def test_without_weights_the_perceptual_loss_is_off_and_a_note_says_so(
    tmp_path: Path, vgg: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        fitted(FewShotStylizer(vgg, **SMALL), patches(1), tmp_path)
        fitted(FewShotStylizer(perceptual_weight=0, **SMALL), patches(1), tmp_path)
        assert "perceptual" not in caplog.text
        fitted(FewShotStylizer(**SMALL), patches(1), tmp_path)
    assert "The perceptual loss is off: it needs the weights of VGG19" in caplog.text
    with pytest.raises(CheckpointError, match="nowhere"):
        fitted(FewShotStylizer(str(tmp_path / "nowhere.pth"), **SMALL), patches(1), tmp_path)


def test_a_checkpoint_holds_both_networks_and_plain_settings_and_is_a_style(train: Path, vgg: str) -> None:
    module = FewShotStylizer(vgg, guide_sigmas=(), **SMALL)
    trainer = make_trainer(train, max_epochs=1)
    trainer.fit(module, datamodule=data_of(train))
    path = train / "mine.ckpt"
    trainer.save_checkpoint(path)
    content = torch.load(path, weights_only=True)
    assert {name.split(".")[0] for name in content["state_dict"]} == {"generator", "discriminator"}
    settings = content["hyper_parameters"]
    wanted = {"in_channels": 3, "blocks": 1, "filters": [8] * 6, "prefilter": False, "guide_sigmas": []}
    assert {name: settings[name] for name in wanted} == wanted

    module.eval()
    with torch.no_grad():
        expected = (module(CLIP.transpose(0, 1) * 2 - 1).transpose(0, 1) + 1) / 2
        assert torch.equal(load_generator(path)(CLIP.transpose(0, 1)), module(CLIP.transpose(0, 1)))
    style = get_style(str(path))
    assert style.name == "mine"
    torch.testing.assert_close(style(CLIP[None])[0], expected, rtol=0, atol=1e-6)

    Path(vgg).unlink()  # the checkpoint is whole without it
    again = FewShotStylizer.load_from_checkpoint(path, weights_only=True)
    assert same_weights(again, module)


def test_a_style_with_filter_and_guides_makes_of_its_clip_what_was_trained(train: Path) -> None:
    """What the network is trained on beforehand on disk, and what the style computes for the clip, are the same."""
    module = FewShotStylizer(guide_sigmas=[4], guide_radius=8, **SMALL)
    data = data_of(train, prefilter=True, guides=[4], guide_radius=8, num_previews=8)
    trainer = make_trainer(train, max_epochs=1)
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(train / "mine.ckpt")
    assert module.hparams["prefilter"] is True
    styled = get_style(str(train / "mine.ckpt"))((CLIP * 255).round()[None] / 255)[0]
    module.eval()
    for item in data.val_dataloader():
        with torch.no_grad():
            expected = (module(item["input"])[0] + 1) / 2
        assert (styled[:, int(item["id"][0])] - expected).abs().mean() < 0.005  # pictures on disk have 8 bits


@pytest.mark.parametrize(
    ("module", "data", "message"),
    [
        ({"guide_sigmas": [10]}, {}, r"guide_sigmas is \[10.0\] in the model and \[\] in the data.*--data.guides"),
        ({}, {"guides": [10]}, r"--model.guide_sigmas"),
        ({"prefilter": True}, {"prefilter": False}, "prefilter is True in the model and False in the data"),
        ({"guide_sigmas": [4], "guide_radius": 8}, {"guides": [4], "guide_radius": 9}, "guide_radius is 8.0 in"),
    ],
)
def test_module_and_data_have_to_agree(train: Path, module: dict[str, Any], data: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make_trainer(train).fit(FewShotStylizer(**module, **SMALL), datamodule=data_of(train, **data))


def test_several_devices_are_refused() -> None:
    module = FewShotStylizer(**SMALL)
    module.trainer = cast("Trainer", SimpleNamespace(world_size=2, datamodule=None))
    with pytest.raises(OptionError, match=r"the Trainer has 2.*--trainer\.devices 1"):
        module.setup("fit")
    module.setup("validate")


def test_wrong_batches_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BatchError, match="The batch has 6 channels, the network takes 3"):
        fitted(FewShotStylizer(**SMALL), patches(1, channels=6), tmp_path)
    tuples: Any = [(torch.rand(2, 3, 8, 8), 1)]
    with pytest.raises(BatchError, match="keys input, target and reference, found"):
        fitted(FewShotStylizer(**SMALL), tuples, tmp_path)


@pytest.mark.parametrize("options", [{"l1_weight": -1}, {"learning_rate": 0}, {"weight_decay": -1}], ids=str)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        FewShotStylizer(**options)


class Seen(Callback):
    """What is trained on, to the last pixel."""

    def __init__(self) -> None:
        self.batches: list[Tensor] = []

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self.batches.append(torch.cat([*batch.values()]))


def test_a_training_that_was_stopped_goes_on_bit_by_bit(train: Path) -> None:
    def run(seed: int, resume: Path | None = None, steps: int = 10) -> tuple[FewShotStylizer, list[Tensor], Trainer]:
        seed_everything(seed, verbose=False)
        module, seen = FewShotStylizer(**SMALL), Seen()
        callbacks: list[Callback] = [seen] if resume else [seen, after_every_step(train)]
        trainer = make_trainer(train, callbacks, max_epochs=-1, max_steps=steps, enable_checkpointing=not resume)
        trainer.fit(module, datamodule=data_of(train), ckpt_path=resume, weights_only=True)
        return module, seen.batches, trainer

    whole, expected, trainer = run(3)
    assert len(expected) == trainer.global_step == 10
    assert not torch.equal(expected[0], expected[4])
    for stop in (2, 4, 9):  # within an epoch, and at its end
        resumed, seen, _ = run(4, train / f"step={stop}.ckpt")
        assert len(seen) == 10 - stop
        assert all(torch.equal(one, other) for one, other in zip(seen, expected[stop:], strict=True))
        assert same_weights(resumed, whole)
        for one, other in zip(resumed.buffers(), whole.buffers(), strict=True):
            assert torch.equal(one, other)


def test_a_trainer_goes_on_with_the_keyframes_it_began_with_alone(train: Path, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, max_epochs=1)
    trainer.fit(FewShotStylizer(**SMALL), datamodule=data_of(train))
    trainer.save_checkpoint(tmp_path / "mine.ckpt")
    others = write_keyframes(tmp_path / "others", CLIP, CLIP.flip(0))
    resume: dict[str, Any] = {"ckpt_path": tmp_path / "mine.ckpt", "weights_only": True}
    with pytest.raises(OptionError, match=r"began with keyframes in .*toy_train', and those in .*others/toy_train'"):
        make_trainer(tmp_path, max_epochs=2).fit(FewShotStylizer(**SMALL), datamodule=data_of(others), **resume)
    make_trainer(tmp_path).validate(FewShotStylizer(**SMALL), datamodule=data_of(others), **resume)
    make_trainer(tmp_path, max_epochs=2).fit(FewShotStylizer(**SMALL), datamodule=data_of(train), **resume)


def test_no_checkpoint_holds_weights_that_are_no_numbers(tmp_path: Path) -> None:
    module = FewShotStylizer(**SMALL)
    trainer = fitted(module, patches(1), tmp_path)
    for network in (module.generator, module.discriminator):
        value = next(value for value in network.state_dict().values() if value.is_floating_point())
        kept = value.clone()
        value.view(-1)[0] = torch.inf
        with pytest.raises(OptionError, match=r"diverged: by step 1 .* lower learning_rate than 0\.0004"):
            trainer.save_checkpoint(tmp_path / "mine.ckpt")
        assert not (tmp_path / "mine.ckpt").exists()
        value.copy_(kept)
    trainer.save_checkpoint(tmp_path / "mine.ckpt")


def real_clip() -> Tensor | None:
    """Eight frames of a real video at 48x48."""
    default = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    path = Path(os.environ.get("STATICDROPOUT_TEST_DATA", default)) / "clips" / "v_SoccerJuggling_g23_c01.avi"
    if not path.is_file():
        return None
    from staticdropout.datamodules import open_video

    video = open_video(path)
    first = len(video) // 2
    frames = torch.from_numpy(video.get_batch(range(first, first + 8))).permute(0, 3, 1, 2).float() / 255
    side = min(frames.shape[2:])
    small = F.interpolate(frames[..., :side, :side], 48, mode="area")
    return small.transpose(0, 1).contiguous()


def test_after_a_short_training_the_other_frames_come_out_in_the_style_of_the_keyframe(tmp_path: Path) -> None:
    found = real_clip()
    clip = CLIP if found is None else found
    styled, others = get_style("neon")(clip[None])[0], [0, 1, 5, 6, 7]
    another = get_style("chalk")(clip[None])[0]
    train = write_keyframes(tmp_path, clip, styled, with_clip=False)
    seed_everything(0, verbose=False)
    module = FewShotStylizer(blocks=1, filters=[12] * 6, learning_rate=2e-3)
    trainer = make_trainer(tmp_path, max_epochs=-1, max_steps=70, limit_val_batches=0)
    trainer.fit(module, datamodule=data_of(train, batch_size=8, batches_per_epoch=70))
    with torch.no_grad():
        painted = (module.eval()(clip.transpose(0, 1) * 2 - 1).transpose(0, 1) + 1) / 2

    def distance(one: Tensor, other: Tensor) -> float:
        return float((one - other)[:, others].abs().mean())

    assert distance(painted, styled) < 0.5 * distance(clip, styled)
    assert distance(painted, another) > 0.5 * distance(clip, another)  # it is this style that was learned
    flicker = [float(video.diff(dim=1).abs().mean()) for video in (painted, styled)]
    assert flicker[0] < 1.5 * flicker[1]
