# SPDX-License-Identifier: Apache-2.0
"""``staticdropout styles train``: a style of your own, from one to four painted frames."""

from __future__ import annotations

import math
import shutil
import time
import warnings
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import TensorBoardLogger

from ..callbacks.style_previews import StylePreviews
from ..datamodules.keyframes import KeyframeDataModule
from ..errors import CheckpointError, OptionError, StaticDropoutError
from ..files import write_whole
from ..lightning_modules.few_shot_stylizer import FewShotStylizer
from ..models.checkpoints.reading import read_content

__all__ = ("train_style",)

_FIXED = {
    "blocks": "blocks",
    "filters": "filters",
    "guide_sigmas": "guides",
    "guide_radius": "guide_radius",
    "learning_rate": "learning_rate",
    "perceptual": "perceptual",
}
"""Settings of the module that a training goes on with, and the options that they come from."""
_FIXED_DATA = {"batch_size": "batch_size", "batches_per_epoch": "every"}
"""The same of the data module: a checkpoint counts its patches by them."""


def train_style(
    *,  # so that all are options, keyframes too
    keyframes: str,
    frames: str | None = None,
    output: str = "style.ckpt",
    steps: int = 20000,
    batch_size: int = 40,
    perceptual: str | None = None,
    guides: list[float] = [],  # noqa: B006 - jsonargparse shows the default; it is not changed
    guide_radius: float = 10,
    prefilter: bool | None = None,
    learning_rate: float = 4e-4,
    blocks: int = 7,
    filters: list[int] = [32, 64, 128, 128, 128, 64],  # noqa: B006 - likewise
    every: int = 1000,
    previews: int = 6,
    seed: int = 0,
    resume: bool = True,
    accelerator: str = "auto",
    precision: str = "32-true",
) -> None:
    """Train a style from one to four painted keyframes (Texler et al. 2020); stop and go on as you like.

    The result is a style by its path, as paint and chalk are by their names. Previews, logs and the last checkpoint
    lie in OUTPUT_training beside it. How to paint and lay out keyframes is told in docs/few_shot.md.

    Args:
        keyframes: NAME_train, with the folders input and output (the same frames, painted), perhaps mask; all frames
            of the clip are looked for in NAME_gen/input.
        frames: the clip as a video or a folder of frames, if it is not there; for previews, prefilter and guides.
        output: the checkpoint to write.
        steps: batches to train; 20000 in the official examples. A few thousand show what it will be.
        batch_size: patches of 32x32 in a batch; 40 in the paper. With 8 a step takes a fifth of the time on a CPU.
        perceptual: VGG19 weights for the perceptual loss: a file (torchvision's vgg19-dcbb9e9d.pth, or timm's), or
            timm to download them (548 MB). Off by default.
        guides: sigmas of guide images, as '[10]' or '[10,15]', against flicker where the frame looks alike in many
            places; computed from the clip. A style with guides has them computed for every clip it is used on.
        guide_radius: distance of their spots in pixels.
        prefilter: filter the noise of the clip over time before training on it, as the paper does; computed from the
            clip. By default, if the folder input_filtered is there.
        learning_rate: of both networks.
        blocks: residual blocks of the generator.
        filters: channels of its stages. Fewer train and run faster, and paint less finely.
        every: steps between two checkpoints with previews; others are written every two minutes.
        previews: frames of the clip to show beside the keyframes.
        seed: of initial weights and patches.
        resume: go on from the last checkpoint of a training that was stopped, with the same keyframes and settings;
            false starts anew.
        accelerator: cpu, gpu, mps, or auto.
        precision: of the Trainer, as 32-true or 16-mixed.
    """
    result = Path(output)
    if not result.suffix:
        raise OptionError(f"output={output!r} must be a file name with a suffix, as style.ckpt.")
    if steps < 1 or every < 1:
        raise OptionError(f"steps={steps} and every={every} must be at least 1.")
    _check_place(result)
    run = result.with_name(f"{result.stem}_training")
    last = run / "last.ckpt"
    seed_everything(seed, verbose=False)
    data = KeyframeDataModule(
        keyframes,
        frames,
        prefilter,
        guides,
        guide_radius,
        batch_size=batch_size,
        batches_per_epoch=every,
        num_previews=previews,
    )
    module = FewShotStylizer(
        perceptual,
        learning_rate=learning_rate,
        blocks=blocks,
        filters=filters,
        guide_sigmas=guides,
        guide_radius=guide_radius,
    )
    before = _read(last) if resume and last.exists() else {}
    if before:
        _refuse_other_settings(last, before, module, data)
    data.prepare_data()
    data.setup("fit")
    if before:
        _refuse_other_settings(last, before, module, data)
        data.refuse_others(before["KeyframeDataModule"].get("keyframes"))
    if not resume:
        _clear(run)
    trained: int = before.get("global_step", 0)
    if trained > steps:
        raise OptionError(
            f"{str(last)!r} has been trained for {trained} steps, more than steps={steps}. Raise --steps, name another "
            "--output, or start anew with --resume false."
        )
    if trained < steps:
        trainer = _trainer(run, steps, every, accelerator, precision)
        with warnings.catch_warnings():
            for noise in _NOISE:
                warnings.filterwarnings("ignore", message=noise)
            _fit(trainer, module, data, last)
    _copy(last, result)
    print(
        f"{'Trained' if trained < steps else 'Had been trained for'} {steps} steps. The style is {result}: use it by "
        f"its path, as in\n  staticdropout styles sheet VIDEO --styles '[{result}]'\n"
        f"Previews: {run / 'previews'}\nCurves: tensorboard --logdir {run}"
    )


_NOISE = (
    r".*isinstance\(treespec, LeafSpec\)",  # raised inside lightning 2.6 with torch 2.15
    r"The '\w+' does not have many workers",  # cutting patches needs none
)


_PATIENCE = 120.0
"""Seconds of training that may be lost."""


class _LastCheckpoint(Checkpoint):
    """Writes a checkpoint every few steps, every two minutes, and at the last step, in place of the one before."""

    def __init__(self, path: Path, every: int) -> None:
        self.path, self.every = path, every
        self._saved = time.monotonic()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *args: Any) -> None:
        step = trainer.global_step
        if step % self.every == 0 or step == trainer.max_steps or time.monotonic() - self._saved > _PATIENCE:
            trainer.save_checkpoint(self.path, weights_only=False)
            self._saved = time.monotonic()


def _trainer(run: Path, steps: int, every: int, accelerator: str, precision: Any) -> Trainer:
    return Trainer(
        accelerator=accelerator,
        devices=1,
        precision=precision,
        max_steps=steps,
        max_epochs=math.ceil(steps / every),  # the same end, said so that the progress bar can show it
        callbacks=[StylePreviews(), _LastCheckpoint(run / "last.ckpt", every)],
        logger=TensorBoardLogger(run, name="", version=""),
        default_root_dir=run,
        log_every_n_steps=min(50, steps, every),
        num_sanity_val_steps=0,
        enable_model_summary=False,
    )


def _fit(trainer: Trainer, module: FewShotStylizer, data: KeyframeDataModule, last: Path) -> None:
    try:
        trainer.fit(module, datamodule=data, ckpt_path=last if last.exists() else None, weights_only=True)
    except SystemExit:  # of Lightning, after Ctrl+C
        going_on = "goes on from the last checkpoint" if last.exists() else "starts anew: there was no checkpoint yet"
        raise SystemExit(f"Stopped at step {trainer.global_step}. The same command {going_on}.") from None
    except StaticDropoutError:
        raise
    except OSError as error:
        raise OptionError(
            f"The training cannot write to {str(last.parent)!r} ({error.strerror or error}). Make room, or choose "
            "another --output; the last checkpoint is whole, and the same command goes on from it."
        ) from error
    if trainer.global_step % data.batches_per_epoch:  # otherwise the last epoch has ended with previews
        trainer.validate(module, datamodule=data, verbose=False)


def _clear(run: Path) -> None:
    """Remove what an earlier training has left, and nothing else."""
    shutil.rmtree(run / "previews", ignore_errors=True)
    for file in (run / "last.ckpt", run / "hparams.yaml", *run.glob("events.out.tfevents.*")):
        file.unlink(missing_ok=True)


def _check_place(result: Path) -> None:
    """Refuse to write over what no training of a style has written.

    Raises:
        OptionError: there is another file, or a folder.
    """
    if not result.exists():
        return
    try:
        content: Any = read_content(result)
        names = content["state_dict"] if "hyper_parameters" in content else ()
        is_style = any(str(name).startswith("generator.") for name in names)
    except (CheckpointError, TypeError, KeyError):
        is_style = False
    if not is_style:
        raise OptionError(
            f"output={str(result)!r} is there already, and no style of an earlier training: it would be lost. Name "
            "another file."
        )


def _read(checkpoint: Path) -> dict[str, Any]:
    """Read the checkpoint that a training goes on from.

    Raises:
        CheckpointError: it cannot be read, or is something else.
    """
    hint = "Start anew with --resume false, or name another --output."
    try:
        content: Any = read_content(checkpoint)
    except CheckpointError as error:
        reason = str(error).removesuffix("Download it again.").rstrip(" .")
        raise CheckpointError(f"The training cannot go on from its last checkpoint: {reason}. {hint}") from error
    parts = ("hyper_parameters", "datamodule_hyper_parameters", "KeyframeDataModule")
    is_ours = isinstance(content, dict) and all(isinstance(content.get(part), dict) for part in parts)
    if not is_ours or not isinstance(content.get("global_step"), int):
        raise CheckpointError(f"{str(checkpoint)!r} is no checkpoint of a training of a style. {hint}")
    return dict(content)


def _refuse_other_settings(
    checkpoint: Path, before: dict[str, Any], module: FewShotStylizer, data: KeyframeDataModule
) -> None:
    """Compare the settings of a training with those that it began with.

    Raises:
        OptionError: one differs.
    """
    was, was_data = before["hyper_parameters"], before["datamodule_hyper_parameters"]
    wanted = {option: (was.get(name), module.hparams[name]) for name, option in _FIXED.items()}
    wanted |= {option: (was_data.get(name), getattr(data, name)) for name, option in _FIXED_DATA.items()}
    if data.prefilter is not None:
        wanted["prefilter"] = (was.get("prefilter"), data.prefilter)
    for option, (then, now) in wanted.items():
        if then != now:
            raise OptionError(
                f"{str(checkpoint)!r} was trained with {option} {then!r}, and now it is {now!r}. Give the same, name "
                "another --output, or start anew with --resume false."
            )


def _copy(last: Path, result: Path) -> None:
    try:
        write_whole(result, last.read_bytes())
    except OSError as error:
        raise OptionError(
            f"The style cannot be written to output={str(result)!r} ({error.strerror or error}). It is in "
            f"{str(last)!r}, too: copy it from there."
        ) from error
