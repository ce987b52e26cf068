# SPDX-License-Identifier: Apache-2.0
"""``staticdropout styles train`` and ``fit --config styles/few_shot``: from painted keyframes to a style."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from keyframe_toys import drifting_clip, save_picture, write_keyframes
from lightning.pytorch import LightningModule, Trainer

from staticdropout.callbacks.style_previews import StylePreviews
from staticdropout.cli import main
from staticdropout.models.stylization import load_generator
from staticdropout.perturbations import VideoTriplets
from staticdropout.perturbations.styles import get_style
from staticdropout.verbs import style_training

CLIP = drifting_clip()
SMALL = ["--batch_size=2", "--blocks=1", "--filters=[4,4,4,4,4,4]", "--accelerator=cpu", "--every=3", "--previews=2"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a set of keyframes in it."""
    monkeypatch.chdir(tmp_path)
    write_keyframes(tmp_path, CLIP, 1 - CLIP)
    return tmp_path


def train(*options: str, keyframes: str = "toy_train") -> None:
    main(["styles", "train", "--keyframes", keyframes, *SMALL, *options])


def weights(path: str = "style.ckpt") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_result_is_a_style_and_what_belongs_to_it_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train("--steps=7", "--output=mine/bold.ckpt")
    text = capsys.readouterr().out
    for named in ("mine/bold.ckpt", "mine/bold_training/previews", "tensorboard --logdir mine/bold_training"):
        assert named in text
    previews = [file.name for file in sorted((folder / "mine/bold_training/previews").iterdir())]
    assert previews == ["step_0000003.png", "step_0000006.png", "step_0000007.png"]
    assert list((folder / "mine/bold_training").glob("events.out.tfevents.*"))
    assert load_generator("mine/bold.ckpt").in_channels == 3
    assert get_style("mine/bold.ckpt")(CLIP[None]).shape == CLIP[None].shape
    triplets = VideoTriplets(styles=["mine/bold.ckpt", "paint"])
    assert triplets.description["style_names"] == ["bold", "paint"]


class PowerCutError(Exception):
    """Stands for a kill."""


def test_a_training_that_was_stopped_or_is_prolonged_goes_on_exactly(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("--steps=8", "--output=whole.ckpt")

    def cut(self: Any, trainer: Trainer, module: LightningModule, *args: Any) -> None:
        if trainer.global_step == 5:
            raise PowerCutError

    with monkeypatch.context() as patched:
        patched.setattr(StylePreviews, "on_train_batch_end", cut)
        with pytest.raises(PowerCutError):
            train("--steps=8")
    assert torch.load("style_training/last.ckpt", weights_only=True)["global_step"] == 3
    assert not Path("style.ckpt").exists()
    train("--steps=8", "--seed=9")
    assert same(weights(), weights("whole.ckpt"))

    train("--steps=4", "--output=longer.ckpt")
    assert not same(weights("longer.ckpt"), weights())
    train("--steps=8", "--output=longer.ckpt")
    assert same(weights("longer.ckpt"), weights())


def test_after_ctrl_c_it_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(self: Any, trainer: Trainer, module: LightningModule, *args: Any) -> None:
        if trainer.global_step in (2, 5):
            raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patched:
        patched.setattr(StylePreviews, "on_train_batch_end", stop)
        with pytest.raises(SystemExit, match=r"Stopped at step 2\. The same command starts anew"):
            train("--steps=8")
        patched.setattr(StylePreviews, "on_train_batch_end", lambda *_: None)
        train("--steps=4")
        patched.setattr(StylePreviews, "on_train_batch_end", stop)
        with pytest.raises(SystemExit, match=r"Stopped at step 5\. .* goes on from the last checkpoint"):
            train("--steps=8")
    signal.signal(signal.SIGINT, handler)  # Lightning leaves it off


def test_between_the_steps_of_checkpoints_no_more_than_some_time_is_lost(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved: list[int] = []
    save = Trainer.save_checkpoint

    def note(trainer: Trainer, *args: Any, **options: Any) -> None:
        saved.append(trainer.global_step)
        save(trainer, *args, **options)

    monkeypatch.setattr(Trainer, "save_checkpoint", note)
    train("--steps=5", "--output=rare.ckpt")
    assert saved == [3, 5]
    saved.clear()
    monkeypatch.setattr(style_training, "_PATIENCE", -1.0)
    train("--steps=5", "--output=often.ckpt")
    assert saved == [1, 2, 3, 4, 5]


def test_a_finished_training_is_not_repeated_unless_it_is_to_start_anew(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train("--steps=3")
    before = weights()
    Path("style.ckpt").unlink()
    with monkeypatch.context() as patched:
        patched.setattr(style_training, "_fit", None)
        train("--steps=3")
    assert "Had been trained for 3 steps" in capsys.readouterr().out
    assert same(weights(), before)
    Path("style_training/notes.txt").write_text("mine")
    train("--steps=2", "--resume=false", "--seed=1")
    assert not same(weights(), before)
    assert Path("style_training/notes.txt").is_file()
    assert [file.name for file in Path("style_training/previews").iterdir()] == ["step_0000002.png"]


def test_filter_and_guides_are_computed_from_the_frames_and_go_into_the_style(folder: Path) -> None:
    (folder / "toy_gen").rename(folder / "filmed")
    train("--steps=2", "--frames=filmed/input", "--prefilter=true", "--guides=[4,6]", "--guide_radius=8")
    settings = torch.load("style.ckpt", weights_only=True)["hyper_parameters"]
    found = {name: settings[name] for name in ("in_channels", "prefilter", "guide_sigmas", "guide_radius")}
    assert found == {"in_channels": 9, "prefilter": True, "guide_sigmas": [4.0, 6.0], "guide_radius": 8.0}
    assert len(list((folder / "toy_gen/input_gdisko_gauss_r8_s6").iterdir())) == 8
    assert get_style("style.ckpt")(CLIP[None]).shape == CLIP[None].shape


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps=2"], "trained for 3 steps, more than steps=2"),
        (["--steps=5", "--blocks=2"], "was trained with blocks 1, and now it is 2"),
        (["--steps=5", "--guides=[4]"], r"was trained with guides \[\], and now it is \[4.0\]"),
        (["--steps=5", "--prefilter=true"], "was trained with prefilter False, and now it is True"),
        (["--steps=5", "--learning_rate=0.1"], r"was trained with learning_rate 0\.0004, and now it is 0\.1"),
        (["--steps=3", "--batch_size=3"], "was trained with batch_size 2, and now it is 3"),
        (["--steps=5", "--every=4"], "was trained with every 3, and now it is 4"),
        (["--steps=5", "--perceptual=vgg19.pth"], r"was trained with perceptual None, and now it is 'vgg19\.pth'"),
        (["--steps=0"], "steps=0 and every=3 must be at least 1"),
        (["--output=style"], "a file name with a suffix"),
    ],
)
def test_what_does_not_fit_the_training_that_is_there_is_said(options: list[str], message: str) -> None:
    train("--steps=3")
    with pytest.raises(SystemExit, match=message):
        train(*options)


def test_a_training_does_not_go_on_with_other_keyframes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train("--steps=3")
    before = Path("style.ckpt").read_bytes()
    other = write_keyframes(folder / "b", CLIP, CLIP.flip(0))
    for steps in (3, 5):
        with pytest.raises(SystemExit, match=r"began with keyframes in 'toy_train', and those in 'b/toy_train'.*false"):
            train(f"--steps={steps}", keyframes="b/toy_train")
    with pytest.raises(SystemExit, match="No data set at 'nowhere'"):
        train("--steps=3", keyframes="nowhere")
    save_picture(other.parent / "same_train/mask/003.png", torch.ones(48, 48))
    for name in ("input", "output"):
        (folder / "toy_train" / name).rename(other.parent / "same_train" / name)
    with pytest.raises(SystemExit, match=r"mask or guide image differs"):
        train("--steps=3", keyframes="b/same_train")
    assert Path("style.ckpt").read_bytes() == before
    (other.parent / "same_train/mask/003.png").unlink()
    capsys.readouterr()
    train("--steps=3", keyframes="b/same_train")
    assert "Had been trained for 3 steps" in capsys.readouterr().out
    train("--steps=3", "--resume=false", keyframes="b/toy_train")
    assert Path("style.ckpt").read_bytes() != before


def test_a_training_that_diverges_stops_and_leaves_the_style_that_is_there(folder: Path) -> None:
    train("--steps=3")
    before = Path("style.ckpt").read_bytes()
    for options in (["--every=6"], ["--every=60"]):  # at a checkpoint, and before the first one
        with pytest.raises(SystemExit, match=r"has diverged: by step (6|50) .* lower learning_rate than 1e\+30"):
            train("--steps=120", "--learning_rate=1e30", "--resume=false", "--previews=0", *options)
        assert Path("style.ckpt").read_bytes() == before
        assert not Path("style_training/last.ckpt").exists()


def test_a_file_that_is_no_style_is_not_written_over(folder: Path) -> None:
    Path("precious.txt").write_text("mine")
    torch.save({"state_dict": {"model.weight": torch.zeros(1)}, "hyper_parameters": {}}, "net.ckpt")
    torch.save([1], "list.pt")
    Path("folder.d").mkdir()
    for name in ("precious.txt", "net.ckpt", "list.pt", "folder.d"):
        with pytest.raises(SystemExit, match=f"output='{name}' is there already, and no style"):
            train("--steps=3", f"--output={name}")
    assert Path("precious.txt").read_text() == "mine"
    assert not list(folder.glob("*_training"))


def test_the_progress_bar_knows_the_number_of_epochs() -> None:
    trainer = style_training._trainer(Path("run"), 7, 3, "cpu", "32-true")
    assert (trainer.max_steps, trainer.max_epochs) == (7, 3)


def test_what_is_wrong_with_the_keyframes_is_an_error_in_a_sentence(folder: Path) -> None:
    with pytest.raises(SystemExit, match=r"error: No data set at 'nowhere'.*docs/few_shot.md"):
        train(keyframes="nowhere")
    save_picture(folder / "toy_train/output/003.png", torch.rand(3, 40, 48))
    with pytest.raises(SystemExit, match=r"48x40 pixels, but its keyframe .* is 48x48"):
        train()
    (folder / "toy_train/output/003.png").rename(folder / "toy_train/output/004.png")
    with pytest.raises(SystemExit, match=r"003\.png' has no painted twin"):
        train()


def test_a_file_that_is_no_checkpoint_is_not_gone_on_from(folder: Path) -> None:
    (folder / "style_training").mkdir()
    torch.save({"state_dict": {}}, folder / "style_training/last.ckpt")
    with pytest.raises(SystemExit, match=r"is no checkpoint of a training .* --resume false"):
        train("--steps=3")
    (folder / "style_training/last.ckpt").write_bytes(b"PK damaged")
    with pytest.raises(
        SystemExit, match=r"cannot go on from its last checkpoint: .*last\.ckpt.*--resume false"
    ) as found:
        train("--steps=3")
    assert "Download" not in str(found.value)


def test_a_full_disk_leaves_the_last_checkpoint_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    save = Trainer.save_checkpoint

    def full(self: Trainer, path: Any, *args: Any, **options: Any) -> None:
        if self.global_step > 3:
            raise OSError(28, "No space left on device")
        save(self, path, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "save_checkpoint", full)
        with pytest.raises(SystemExit, match=r"No space left.*goes on from it"):
            train("--steps=8")
    assert torch.load("style_training/last.ckpt", weights_only=True)["global_step"] == 3
    train("--steps=8")
    assert torch.load("style.ckpt", weights_only=True)["global_step"] == 8


def test_the_packaged_config_trains_with_the_settings_of_the_paper(folder: Path) -> None:
    small = {
        "model.blocks": "1",
        "model.filters": "[4,4,4,4,4,4]",
        "data.batch_size": "2",
        "data.batches_per_epoch": "2",
    }
    run = {"trainer.max_steps": "4", "trainer.accelerator": "cpu", "trainer.default_root_dir": "run"}
    options = [f"--{name}={value}" for name, value in (small | run).items()]
    main(["fit", "--config", "styles/few_shot", "--data.root", "toy_train", *options])
    found = [path for path in folder.rglob("last.ckpt") if "run" in path.parts]
    assert len(found) == 1
    settings = torch.load(found[0], weights_only=True)["hyper_parameters"]
    paper = {"l1_weight": 4, "perceptual_weight": 6, "adversarial_weight": 0.5, "learning_rate": 4e-4}
    assert {name: settings[name] for name in paper} == paper
    assert list(folder.rglob("previews/step_0000004.png"))
    assert get_style(str(found[0])).name == "last"
