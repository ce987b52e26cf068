# SPDX-License-Identifier: Apache-2.0
"""Painted keyframes: what is drawn from them, in what order, and what is wrong with them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from keyframe_toys import drifting_clip, load_picture, save_picture, write_keyframes
from lightning.pytorch import seed_everything
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image
from torch import Tensor

from staticdropout.datamodules import keyframe_preparation
from staticdropout.datamodules.draws import Draw
from staticdropout.datamodules.keyframe_clip import KeyframeClip
from staticdropout.datamodules.keyframe_files import clip_folder, guide_folder, pictures_in, training_folder
from staticdropout.datamodules.keyframe_patches import KeyframePatches, PatchDraws, PatchSource, valid_centres
from staticdropout.datamodules.keyframes import KeyframeDataModule
from staticdropout.errors import (
    AnnotationError,
    DatasetNotFoundError,
    OptionError,
    StaticDropoutError,
    VideoDecodeError,
)
from staticdropout.files import write_whole

CLIP = drifting_clip()
PAINTED = 1 - CLIP


@pytest.fixture
def train(tmp_path: Path) -> Path:
    return write_keyframes(tmp_path, CLIP, PAINTED)


def module_of(root: Path, **options: Any) -> KeyframeDataModule:
    data = KeyframeDataModule(str(root), **({"batch_size": 4, "batches_per_epoch": 5} | options))
    data.prepare_data()
    data.setup("fit")
    return data


def coordinates(height: int, width: int, shift: float = 0) -> Tensor:
    """A picture whose first two channels are the row and the column of each pixel."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    picture = torch.zeros(3, height, width)
    picture[0], picture[1], picture[2] = rows, columns, shift
    return picture


def source_of(mask: Tensor, shift: float = 0) -> PatchSource:
    picture = coordinates(mask.shape[0], mask.shape[1], shift)
    return PatchSource(picture, picture, valid_centres(mask))


def test_centres_are_the_pixels_whose_7x7_neighbours_all_lie_in_picture_and_mask() -> None:
    mask = torch.rand(40, 50, generator=torch.Generator().manual_seed(0)) > 0.03
    windows = sliding_window_view(np.pad(mask.numpy(), 3), (7, 7))
    expected = np.argwhere(windows.all((2, 3)))
    assert 20 < len(expected) < 1000
    assert valid_centres(mask).tolist() == expected.tolist()


def test_each_centre_comes_once_before_any_comes_again_and_in_another_order_then() -> None:
    mask = torch.zeros(40, 40, dtype=torch.bool)
    mask[10:22, 5:20] = True
    patches = KeyframePatches([source_of(mask)], length=1)
    count = (12 - 6) * (15 - 6)
    laps = [[patches.place(Draw(lap * count + i, 7)).centre for i in range(count)] for lap in range(3)]
    assert all(sorted(lap) == list(range(count)) for lap in laps)
    assert laps[0] != laps[1] != laps[2]
    assert laps[0] != [patches.place(Draw(i, 8)).centre for i in range(count)]


def chi_square(numbers: list[int], bins: int) -> float:
    counts = np.bincount(numbers, minlength=bins)
    expected = len(numbers) / bins
    return float(((counts - expected) ** 2 / expected).sum())


def test_the_order_of_centres_and_the_references_are_uniform() -> None:
    mask = torch.ones(12, 11, dtype=torch.bool)
    patches = KeyframePatches([source_of(mask)], length=1, patch_size=8)
    bins = len(patches.sources[0].centres)
    assert bins == 30
    first = [patches.place(Draw(0, seed)).centre for seed in range(3000)]
    references = [patches.place(Draw(number, 0)).reference for number in range(3000)]
    limit = 58.3  # of chi square with 29 degrees of freedom: exceeded once in a thousand
    assert chi_square(first, bins) < limit
    assert chi_square(references, bins) < limit
    pairs = [patches.place(Draw(number, 1)) for number in range(6000)]
    assert chi_square([5 * (place.centre // 6) + place.reference // 6 for place in pairs], 25) < 51.2  # 24 degrees


@pytest.mark.parametrize(("centre", "corner"), [((20, 25), (4, 9)), ((3, 3), (0, 0)), ((36, 46), (8, 18))])
def test_a_patch_is_the_crop_around_its_centre_moved_inside_the_picture(
    centre: tuple[int, int], corner: tuple[int, int]
) -> None:
    source = PatchSource(coordinates(40, 50), coordinates(40, 50, shift=5), torch.tensor([centre]))
    item = KeyframePatches([source], length=1)[Draw(0, 0)]
    top, left = corner
    assert torch.equal(item["input"], source.source[:, top : top + 32, left : left + 32])
    assert torch.equal(item["target"], source.painted[:, top : top + 32, left : left + 32])


def test_keyframes_come_by_turns_and_the_reference_is_of_the_same_painting() -> None:
    mask = torch.ones(40, 44, dtype=torch.bool)
    patches = KeyframePatches([source_of(mask, shift) for shift in (1, 2, 3)], length=12)
    items = [patches[Draw(number, 0)] for number in range(12)]
    for name in ("input", "target", "reference"):
        assert [int(item[name][2].amax()) for item in items] == [1, 2, 3] * 4
    assert any(not torch.equal(item["target"], item["reference"]) for item in items)


def test_ranks_share_an_epoch_and_each_sees_every_keyframe() -> None:
    ranks = [PatchDraws(range(12), 2, rank, seed=3) for rank in range(2)]
    for sampler in ranks:
        sampler.set_epoch(4)
    drawn = [[draw.item for draw in sampler] for sampler in ranks]
    assert sorted(drawn[0] + drawn[1]) == list(range(48, 60))
    assert all({item % 2 for item in items} == {0, 1} for items in drawn)


def test_batches_hold_pixels_of_the_pictures_between_minus_one_and_one(train: Path) -> None:
    batch = next(iter(module_of(train).train_dataloader()))
    assert {name: tuple(pixels.shape) for name, pixels in batch.items()} == dict.fromkeys(
        ("input", "target", "reference"), (4, 3, 32, 32)
    )
    assert -1 <= batch["input"].min() < -0.3 < 0.3 < batch["input"].max() <= 1
    assert (batch["input"] + batch["target"]).abs().max() < 0.01  # painted is the negative, and of the same place
    frame = load_picture(train / "input/003.png") / 127.5 - 1
    windows = frame.unfold(1, 32, 1).unfold(2, 32, 1)
    for patch in batch["input"]:
        assert (windows - patch[:, None, None]).abs().amax((0, 3, 4)).min() < 1e-6


def batches(data: KeyframeDataModule, epochs: int, skip: int = 0) -> list[dict[str, Tensor]]:
    loader: Any = data.train_dataloader()
    if skip:
        loader.load_state_dict(loader.state_dict() | {"given": skip})
    return [batch for _ in range(epochs) for batch in loader]


def same(one: list[dict[str, Tensor]], other: list[dict[str, Tensor]]) -> bool:
    assert len(one) == len(other)
    return all(torch.equal(a[name], b[name]) for a, b in zip(one, other, strict=True) for name in a)


def test_the_order_follows_from_the_seed_alone_whatever_the_workers_and_goes_on_after_a_stop(train: Path) -> None:
    seed_everything(3, verbose=False)
    whole = batches(module_of(train), 2)
    assert not same(whole[:5], whole[5:])
    torch.rand(7)
    assert same(batches(module_of(train, num_workers=1), 2), whole)
    assert same(batches(module_of(train), 2, skip=3), whole[3:])
    seed_everything(4, verbose=False)
    assert not same(batches(module_of(train), 2), whole)


def test_nothing_is_drawn_from_the_global_generators(train: Path) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    data = module_of(train, guides=[4], prefilter=True)
    list(data.train_dataloader())
    list(data.val_dataloader())
    assert torch.equal(torch.rand(3), expected)


def test_centres_come_from_the_mask_alone(tmp_path: Path) -> None:
    mask = torch.zeros(48, 48)
    mask[20:30, 15:26] = 129 / 255  # just above the threshold
    mask[:8, :20] = 128 / 255
    data = module_of(write_keyframes(tmp_path, CLIP, PAINTED, mask=mask))
    loader: Any = data.train_dataloader()
    centres = loader.dataset.sources[0].centres
    assert centres.amin(0).tolist() == [23, 18]
    assert centres.amax(0).tolist() == [26, 22]


def test_a_mask_of_16_bits_counts_from_its_middle_on(tmp_path: Path) -> None:
    root = write_keyframes(tmp_path, CLIP, PAINTED, mask=torch.ones(48, 48))
    mask = np.full((48, 48), 60 * 257, np.uint16)
    mask[20:30, 15:26] = 65535
    Image.fromarray(mask).save(root / "mask/003.png")
    loader: Any = module_of(root).train_dataloader()
    assert loader.dataset.sources[0].centres.amin(0).tolist() == [23, 18]


def test_where_a_painting_is_transparent_the_frame_shows_through_and_no_patch_has_its_centre(tmp_path: Path) -> None:
    root = write_keyframes(tmp_path, CLIP, PAINTED)
    frame, painted = load_picture(root / "input/003.png"), load_picture(root / "output/003.png")
    alpha = torch.zeros(48, 48)
    alpha[10:30, 5:20] = 255
    layer = torch.cat([painted, alpha[None]]).byte().permute(1, 2, 0)
    Image.fromarray(layer.numpy()).save(root / "output/003.png")
    data = module_of(root)
    loader: Any = data.train_dataloader()
    source = loader.dataset.sources[0]
    assert source.centres.amin(0).tolist() == [13, 8]
    assert source.centres.amax(0).tolist() == [26, 16]
    expected = torch.where(alpha > 0, painted, frame) / 127.5 - 1
    torch.testing.assert_close(source.painted, expected)
    torch.testing.assert_close(next(iter(data.val_dataloader()))["target"][0], expected)


def test_what_is_trained_on_has_a_digest_of_every_file_wherever_the_folder_is(tmp_path: Path) -> None:
    def digest(root: Path) -> str:
        return module_of(root, guides=[4]).trained_on["digest"]

    root = write_keyframes(tmp_path, CLIP, PAINTED, at=(3, 5), mask=torch.ones(48, 48))
    first = digest(root)
    shutil.copytree(root, tmp_path / "moved/b_train")
    assert digest(tmp_path / "moved/b_train") == first
    seen = {first}
    for folder in ("input", "output", "mask", guide_folder(10, 4)):
        save_picture(root / folder / "005.png", torch.full((48, 48), 0.9))
        seen.add(digest(root))
    shutil.rmtree(root / "mask")
    assert len(seen | {digest(root)}) == 6


def test_guide_images_follow_the_frame_in_the_order_that_was_asked_for(train: Path) -> None:
    for sigma, level in ((4, 0.25), (9, 0.75)):
        save_picture(train / guide_folder(10, sigma) / "003.png", torch.full((3, 48, 48), level))
    shutil.rmtree(clip_folder(train))
    data = module_of(train, guides=[9, 4])
    batch = next(iter(data.train_dataloader()))
    assert batch["input"].shape == (4, 9, 32, 32)
    assert data.in_channels == 9
    levels = [batch["input"][:, channel].mean().item() for channel in (3, 6)]
    assert levels == pytest.approx([191 / 127.5 - 1, 64 / 127.5 - 1], abs=1e-6)


@pytest.mark.parametrize("given", ["toy_train", "toy", "."])
def test_the_folder_may_be_named_by_its_own_name_by_that_of_the_set_or_by_the_one_above(
    train: Path, given: str
) -> None:
    assert training_folder(train.parent / given).resolve() == train
    assert clip_folder(train) == train.parent / "toy_gen"


def test_jpegs_with_and_without_the_clip_are_read(train: Path) -> None:
    for folder in ("input", "output"):
        (train / folder / "003.png").rename(train / folder / "003.tmp")
        save_picture(train / folder / "003.jpg", CLIP[:, 3])
    shutil.rmtree(clip_folder(train))
    data = module_of(train)
    assert data.keyframes[0].source.suffix == ".jpg"
    assert [batch["id"] for batch in data.val_dataloader()] == [["003"]]


def test_filtered_frames_are_taken_where_they_are_there_and_nothing_else_was_said(tmp_path: Path) -> None:
    train = write_keyframes(tmp_path, CLIP, PAINTED, source="input_filtered")
    data = module_of(train)
    assert data.prefilter is True
    assert data.keyframes[0].source == train / "input_filtered/003.png"
    assert len(list(data.val_dataloader())) == 6
    write_keyframes(tmp_path, CLIP, PAINTED)
    assert module_of(train, prefilter=False).keyframes[0].source == train / "input/003.png"


def test_previews_are_the_keyframes_and_frames_evenly_spread(train: Path) -> None:
    items = list(module_of(train, num_previews=3).val_dataloader())
    assert [item["id"] for item in items] == [["003"], ["000"], ["004"], ["007"]]
    assert ["target" in item for item in items] == [True, False, False, False]
    assert torch.equal(items[1]["input"][0], load_picture(train.parent / "toy_gen/input/000.png") / 127.5 - 1)
    elsewhere = train.parent / "elsewhere"
    clip_folder(train).rename(elsewhere)
    named = list(module_of(train, frames=str(elsewhere / "input"), num_previews=3).val_dataloader())
    assert [item["id"] for item in named] == [item["id"] for item in items]


def test_more_keyframes_than_the_paper_has_are_allowed_with_a_note(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        module_of(write_keyframes(tmp_path, CLIP, PAINTED, at=range(4)))
        assert "keyframes" not in caplog.text
        module_of(write_keyframes(tmp_path, CLIP, PAINTED, at=range(5))).setup()
    assert caplog.text.count("5 keyframes") == 1


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder)
    folder.mkdir()
    return folder


BROKEN: dict[str, tuple[Callable[[Path], object], type[StaticDropoutError], str]] = {
    "a keyframe without its twin": (
        lambda root: (root / "output/005.png").unlink(), AnnotationError, r"005\.png' has no painted twin"
    ),
    "a painting without its frame": (
        lambda root: (root / "input/005.png").unlink(), AnnotationError, r"005\.png' has no frame"
    ),
    "a painting of another size": (
        lambda root: save_picture(root / "output/003.png", torch.rand(3, 48, 40)),
        AnnotationError, "is 40x48 pixels, but its keyframe .* is 48x48",
    ),
    "a mask of another size": (
        lambda root: save_picture(root / "mask/003.png", torch.ones(47, 48)),
        AnnotationError, r"mask/003\.png' is 48x47 pixels, but its keyframe .* is 48x48",
    ),
    "a mask too few": (lambda root: (root / "mask/003.png").unlink(), AnnotationError, r"no mask 003\.png"),
    "an empty mask": (
        lambda root: save_picture(root / "mask/003.png", torch.full((48, 48), 128 / 255)), AnnotationError, "is empty"
    ),
    "a painting on no layer": (
        lambda root: Image.new("RGBA", (48, 48), (9, 9, 9, 0)).save(root / "output/003.png"),
        AnnotationError, r"output/003\.png' is transparent everywhere",
    ),
    "a painting of a line": (
        lambda root: Image.fromarray(np.eye(48, dtype=np.uint8)[..., None].repeat(4, -1) * 255).save(
            root / "output/003.png"
        ),
        AnnotationError, "nowhere are 7x7 painted pixels together",
    ),
    "a mask of specks": (
        lambda root: save_picture(root / "mask/003.png", (torch.arange(48) % 7 > 0).float().expand(48, 48)),
        AnnotationError, "leaves no place for a patch",
    ),
    "no keyframe": (lambda root: shutil.rmtree(root / "input"), AnnotationError, r"has no frame 003\.png in .*input"),
    "no painting": (lambda root: shutil.rmtree(root / "output"), DatasetNotFoundError, "docs/few_shot.md"),
    "an empty folder of paintings": (
        lambda root: _emptied(root / "output"),
        AnnotationError, r"has no painted twin 003\.png",
    ),
    "nothing": (
        lambda root: (_emptied(root / "input"), _emptied(root / "output")),
        DatasetNotFoundError, "docs/few_shot.md",
    ),
    "no folder": (lambda root: shutil.rmtree(root), DatasetNotFoundError, "docs/few_shot.md"),
    "a file that is no picture": (
        lambda root: (root / "input/003.png").write_text("text"), VideoDecodeError, r"input/003\.png"
    ),
    "a name twice": (
        lambda root: save_picture(root / "output/003.jpg", CLIP[:, 3]), AnnotationError, "both 003.jpg and 003.png"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_wrong_is_said_with_the_next_step(tmp_path: Path, case: str) -> None:
    breaking, error, message = BROKEN[case]
    root = write_keyframes(tmp_path, CLIP, PAINTED, at=(3, 5), mask=torch.ones(48, 48))
    breaking(root)
    with pytest.raises(error, match=message):
        module_of(root).train_dataloader()


def test_a_keyframe_smaller_than_a_patch_is_refused(tmp_path: Path) -> None:
    root = write_keyframes(tmp_path, CLIP[..., :20], PAINTED[..., :20], with_clip=False)
    with pytest.raises(AnnotationError, match="20x48 pixels, smaller than a patch"):
        module_of(root).train_dataloader()


def test_several_sets_in_one_folder_are_not_chosen_from(train: Path) -> None:
    shutil.copytree(train, train.parent / "other_train")
    with pytest.raises(OptionError, match="other_train, toy_train"):
        module_of(train.parent)


@pytest.mark.parametrize("folder", ["input_filtered", "input_gdisko_gauss_r10_s4"])
def test_a_missing_folder_that_cannot_be_computed_is_named(train: Path, folder: str) -> None:
    shutil.rmtree(clip_folder(train))
    with pytest.raises(DatasetNotFoundError, match=f"{folder}.*computed from all frames of the clip"):
        module_of(train, prefilter="filtered" in folder, guides=[] if "filtered" in folder else [4])


@pytest.mark.parametrize(
    "options",
    [{"patch_size": 30}, {"batch_size": 0}, {"batches_per_epoch": 0}, {"num_previews": -1}, {"guides": [0]}],
    ids=str,
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        KeyframeDataModule("somewhere", **options)


def test_filtered_frames_and_guides_are_computed_once_for_clip_and_keyframes(
    train: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"prefilter": True, "guides": [4.0, 6.5], "guide_radius": 8}
    names = ["input_filtered", "input_gdisko_gauss_r8_s4", "input_gdisko_gauss_r8_s6.5"]
    data, clip = module_of(train, **options), clip_folder(train)
    for name in names:
        assert list(pictures_in(clip / name)) == [f"{number:03d}" for number in range(8)]
        assert torch.equal(load_picture(train / name / "003.png"), load_picture(clip / name / "003.png"))
    assert next(iter(data.train_dataloader()))["input"].shape[1] == 9
    assert [item["input"].shape[1] for item in data.val_dataloader()] == [9] * 6
    filtered = load_picture(train / names[0] / "003.png") - load_picture(train / "input/003.png")
    assert 0 < filtered.abs().mean() < 16

    before = {path: path.stat().st_mtime_ns for path in train.parent.rglob("*.png")}
    with monkeypatch.context() as patched:
        patched.setattr(keyframe_preparation, "DisFlow", None)
        module_of(train, **options)  # nothing is computed again
    (clip / names[0] / "005.png").unlink()  # a run that was killed
    module_of(train, **options)
    after = {path: path.stat().st_mtime_ns for path in train.parent.rglob("*.png")}
    assert {path for path in after if after[path] != before[path]} == {clip / names[0] / "005.png"}


def test_a_keyframe_is_found_in_a_clip_whatever_its_name(train: Path) -> None:
    for folder in ("input", "output"):
        (train / folder / "003.png").rename(train / folder / "hero.png")
    module_of(train, prefilter=True)
    filtered = clip_folder(train) / "input_filtered"
    assert torch.equal(load_picture(train / "input_filtered/hero.png"), load_picture(filtered / "003.png"))


@pytest.mark.parametrize(
    ("clip", "message"),
    [
        (1 - CLIP, "is no frame of"),
        (CLIP[..., :40], "the frames of .* are 40x48"),
        (CLIP[:, 3:4], "input_filtered cannot be computed.*other' has one frame. Name the whole clip with frames"),
    ],
    ids=["other", "size", "one frame"],
)
def test_a_keyframe_of_another_clip_is_refused(tmp_path: Path, clip: Tensor, message: str) -> None:
    train = write_keyframes(tmp_path, CLIP, PAINTED, with_clip=False)
    for number in range(clip.shape[1]):
        save_picture(tmp_path / "other" / f"{number}.png", clip[:, number])
    with pytest.raises(AnnotationError, match=message):
        module_of(train, frames=str(tmp_path / "other"), prefilter=True)


def test_frames_from_elsewhere_are_laid_down_beside_what_is_computed_of_them(train: Path, tmp_path: Path) -> None:
    clip_folder(train).rename(tmp_path / "elsewhere")
    data = module_of(train, frames=str(tmp_path / "elsewhere/input"), prefilter=True)
    assert len(pictures_in(clip_folder(train) / "input")) == 8
    assert len(list(data.val_dataloader())) == 6
    (tmp_path / "elsewhere/input/007.png").unlink()
    with pytest.raises(OptionError, match="holds frames of another clip"):
        module_of(train, frames=str(tmp_path / "elsewhere/input"), prefilter=True)


def test_a_full_disk_leaves_whole_files_and_says_so(train: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    def full(path: Path, content: bytes | str) -> None:
        if path.stem == "004":
            raise OSError(28, "No space left on device")
        write_whole(path, content)

    monkeypatch.setattr(keyframe_preparation, "write_whole", full)
    with pytest.raises(OptionError, match=r"No space left on device.*the next run goes on"):
        module_of(train, prefilter=True)
    for file in (clip_folder(train) / "input_filtered").iterdir():
        load_picture(file)
    monkeypatch.undo()
    module_of(train, prefilter=True)
    assert len(pictures_in(clip_folder(train) / "input_filtered")) == 8


def test_frames_of_a_video_go_by_their_numbers(tmp_path: Path, shapes_root: Path) -> None:
    video = sorted((shapes_root / "20bn-something-something-v2").iterdir())[0]
    frames = KeyframeClip(video).read().transpose(0, 1).float() / 255
    train = write_keyframes(tmp_path, frames, 1 - frames, at=(4,), with_clip=False)
    data = module_of(train, frames=str(video), num_previews=3)
    assert [item["id"] for item in data.val_dataloader()] == [["004"], ["00000"], ["00004"], ["00009"]]
    module_of(train, frames=str(video), prefilter=True)
    filtered = clip_folder(train) / "input_filtered"
    assert list(pictures_in(filtered)) == [f"{number:05d}" for number in range(10)]
    assert torch.equal(load_picture(train / "input_filtered/004.png"), load_picture(filtered / "00004.png"))


def test_files_that_macos_adds_are_no_frames(train: Path) -> None:
    (clip_folder(train) / "input/._000.png").write_bytes(b"resource fork")
    assert len(list(module_of(train).val_dataloader())) == 6


def test_a_clip_that_is_not_there_or_of_several_sizes_is_refused(train: Path) -> None:
    with pytest.raises(DatasetNotFoundError, match="Name a video, or a folder"):
        module_of(train, frames="nowhere.mp4").val_dataloader()
    save_picture(clip_folder(train) / "input/002.png", torch.rand(3, 40, 48))
    with pytest.raises(AnnotationError, match="differ in size: 48x40, 48x48"):
        module_of(train, prefilter=True)
