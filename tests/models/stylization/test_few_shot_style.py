# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of few-shot networks as styles: by object, by file name, with filter and guides."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from staticdropout.errors import CheckpointError, CheckpointMismatchError, OptionError, UnknownNameError
from staticdropout.models import FewShotStyle
from staticdropout.models.stylization import PatchGenerator
from staticdropout.perturbations import DisFlow, StyleSet, VideoTriplets, check_style, draw_guides, filter_over_time
from staticdropout.perturbations.styles import get_style, register_style, registry, unregister_style


@pytest.fixture
def clip() -> Tensor:
    """Two clips (2, 3, 4, 50, 54) of textures that move, with a little noise."""
    generator = torch.Generator().manual_seed(0)
    textures = F.interpolate(torch.rand(2, 3, 12, 12, generator=generator), (72, 72), mode="bicubic").clamp(0, 1)
    frames = torch.stack([textures[:, :, t : t + 50, 2 * t : 2 * t + 54] for t in range(4)], dim=2)
    return (frames + 0.02 * torch.randn(frames.shape, generator=generator)).clamp(0, 1)


def painted(generator: PatchGenerator, frames: Tensor) -> Tensor:
    """What the network makes of frames (T, C, H, W) in [0, 1]."""
    pictures: Tensor = generator(frames * 2 - 1)
    return (pictures + 1) / 2


def test_a_checkpoint_paints_each_frame(
    small_generator: Callable[..., PatchGenerator], lightning_file: Callable[..., Path], clip: Tensor
) -> None:
    generator = small_generator()
    style = FewShotStyle(lightning_file(generator, prefilter=False, guide_sigmas=[]))
    assert (style.name, style.temporal) == ("mine", False)
    styled = style(clip)
    for one, other in zip(clip, styled, strict=True):
        assert torch.allclose(other.transpose(0, 1), painted(generator, one.transpose(0, 1)), atol=1e-5)
    assert float(styled.std()) > 0.01
    check_style(style, clip)


@pytest.mark.parametrize("prefilter", [False, True])
@pytest.mark.parametrize("sigmas", [[], [6.0], [4.0, 9.0]])
def test_filter_and_guides_are_those_of_the_checkpoint(
    sigmas: list[float],
    prefilter: bool,
    small_generator: Callable[..., PatchGenerator],
    lightning_file: Callable[..., Path],
    clip: Tensor,
) -> None:
    generator = small_generator(in_channels=3 + 3 * len(sigmas))
    style = FewShotStyle(lightning_file(generator, prefilter=prefilter, guide_sigmas=sigmas, guide_radius=7))
    assert style.temporal == (prefilter or bool(sigmas))
    frames = clip[1].transpose(0, 1)
    pixels = (frames * 255).round().to(torch.uint8)
    forward, backward = DisFlow()(pixels), DisFlow()(pixels.flip(0)).flip(0)
    inputs = [filter_over_time(frames, forward, backward) if prefilter else frames]
    whole = {0: torch.ones(50, 54)}
    inputs += [draw_guides((50, 54), 4, whole, forward, backward, radius=7, sigma=sigma) for sigma in sigmas]
    expected = painted(generator, torch.cat(inputs, dim=1))
    styled = style(clip)
    assert torch.allclose(styled[1].transpose(0, 1), expected, atol=1e-5)
    check_style(style, clip)
    assert style(clip[:, :, :1]).shape == (2, 3, 1, 50, 54)


def test_a_style_that_has_been_used_can_go_to_another_process(
    small_generator: Callable[..., PatchGenerator], lightning_file: Callable[..., Path], clip: Tensor
) -> None:
    style = FewShotStyle(lightning_file(small_generator(), prefilter=True))
    expected = style(clip)
    for other in (pickle.loads(pickle.dumps(style)), copy.deepcopy(style)):
        assert torch.equal(other(clip), expected)
        assert StyleSet([other]).hash == StyleSet([style]).hash


def test_guides_change_what_is_painted(
    small_generator: Callable[..., PatchGenerator], lightning_file: Callable[..., Path], clip: Tensor
) -> None:
    path = lightning_file(small_generator(in_channels=6), guide_sigmas=[6.0])
    first, second = FewShotStyle(path)(clip), FewShotStyle(path)(clip[:, :, 1:])
    assert float((first[:, :, 1:] - second).abs().max()) > 0.01  # guides start from the first frame


@pytest.mark.parametrize(
    "settings",
    [{"guide_sigmas": value} for value in (10, "abc", ["a"], [-1.0], [float("nan")], {"a": 1})]
    + [{"guide_radius": "wide"}, {"guide_radius": -2}, {"prefilter": "no"}],
    ids=str,
)
def test_settings_that_make_no_sense_are_an_error_of_the_checkpoint(
    settings: dict[str, object], small_generator: Callable[..., PatchGenerator], lightning_file: Callable[..., Path]
) -> None:
    path = lightning_file(small_generator(in_channels=6), **{"guide_sigmas": [6.0], **settings})
    with pytest.raises(CheckpointError, match=rf"mine\.ckpt' says {next(iter(settings))}: .* expected"):
        FewShotStyle(path)


def test_a_number_of_guides_that_the_settings_do_not_name_is_an_error(
    small_generator: Callable[..., PatchGenerator], lightning_file: Callable[..., Path], tmp_path: Path
) -> None:
    torch.save(small_generator(in_channels=9).state_dict(), tmp_path / "bare.pth")
    with pytest.raises(CheckpointMismatchError, match=r"bare\.pth' takes 2 guide pictures.*settings name 0"):
        FewShotStyle(tmp_path / "bare.pth")
    with pytest.raises(CheckpointMismatchError, match=r"takes 0 guide pictures.*settings name 1"):
        FewShotStyle(lightning_file(small_generator(), guide_sigmas=[10]))


def test_files_are_styles_by_name(
    small_generator: Callable[..., PatchGenerator], lightning_file: Callable[..., Path], clip: Tensor
) -> None:
    path = lightning_file(small_generator())
    style = get_style(str(path))
    assert isinstance(style, FewShotStyle)
    assert get_style(str(path), name="other").name == "other"
    styles = StyleSet(["paint", str(path)])
    assert styles.names == ("paint", "mine")
    assert styles.name == "paint+mine"
    assert torch.equal(styles.render(1, clip), style(clip))
    triplet = VideoTriplets(styles=["paint", str(path)], seed=0)(clip)
    assert triplet.anchor.shape == clip.shape


def test_the_hash_of_a_set_is_that_of_the_weights_and_the_name_not_of_the_place(
    small_generator: Callable[..., PatchGenerator], lightning_file: Callable[..., Path], tmp_path: Path
) -> None:
    path = lightning_file(small_generator())
    (tmp_path / "elsewhere").mkdir()
    torch.save(small_generator().state_dict(), tmp_path / "elsewhere" / "mine.pth")
    hashes = [StyleSet(["paint", str(p)]).hash for p in (path, path, tmp_path / "elsewhere" / "mine.pth")]
    assert len(set(hashes)) == 1
    others = [lightning_file(small_generator(seed=1)), lightning_file(small_generator(), prefilter=True)]
    more = {StyleSet(["paint", str(other)]).hash for other in others[1:]}
    lightning_file(small_generator(seed=1))
    more.add(StyleSet(["paint", str(others[0])]).hash)
    assert len(more | {hashes[0]}) == 3
    parameters = FewShotStyle(path).parameters
    assert json.loads(json.dumps(parameters)) == parameters
    assert parameters["network"] == "PatchGenerator"


@pytest.mark.parametrize(
    ("file", "name"), [("Zuzka2/model_00020.pth", "Zuzka2"), ("Zuzka2/oil.pth", "oil"), ("Lynx/last.ckpt", "last")]
)
def test_the_authors_files_are_called_by_their_folders(
    file: str,
    name: str,
    small_generator: Callable[..., PatchGenerator],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / file
    path.parent.mkdir()
    torch.save(small_generator().state_dict(), path)
    assert get_style(str(path)).name == name
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert get_style(path.name).name == get_style(f"~/{file}").name == name


def test_wrong_names_and_missing_files_name_close_matches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownNameError, match=r"no style called 'chulk'\. Close matches: chalk"):
        get_style("chulk")
    (tmp_path / "chulk").touch()  # without an ending it is a name
    with pytest.raises(UnknownNameError, match="no style called 'chulk'"):
        get_style("chulk")
    with pytest.raises(UnknownNameError, match=r"no style or file called 'chalk.ckpt'. Close matches: chalk"):
        get_style("chalk.ckpt")
    (tmp_path / "folder.ckpt").mkdir()
    with pytest.raises(UnknownNameError, match=r"no style or file called 'folder.ckpt'"):
        StyleSet(["paint", "folder.ckpt"])
    (tmp_path / "words.ckpt").write_text("no checkpoint")
    with pytest.raises(CheckpointError, match=r"words\.ckpt"):
        get_style("words.ckpt")


def test_a_registered_name_comes_before_a_file(
    small_generator: Callable[..., PatchGenerator],
    lightning_file: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    path = lightning_file(small_generator())
    register_style(path.name)(lambda: get_style("neon"))
    try:
        assert get_style(path.name).name == "neon"
    finally:
        unregister_style(path.name)
    assert get_style(path.name).name == "mine"


def test_perturbations_alone_say_what_to_import(
    small_generator: Callable[..., PatchGenerator], lightning_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = lightning_file(small_generator())
    monkeypatch.setattr("staticdropout.perturbations.styles.registry._READERS", [])
    with pytest.raises(OptionError, match=r"import staticdropout\.models"):
        get_style(str(path))


def test_importing_models_is_enough_to_read_files() -> None:
    assert [reader is FewShotStyle for reader in registry._READERS] == [True]
