# SPDX-License-Identifier: Apache-2.0
"""Pairs of styled frames with flow: what is read, in which order, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from sequences import davis2016, write_flow
from styled_data import write_marked

from staticdropout.datamodules import VideoSegmentationDataModule, list_sequences
from staticdropout.datamodules.frame_patterns import FramePattern
from staticdropout.datamodules.styled_davis import StyledDavisDataModule
from staticdropout.errors import DatasetNotFoundError, OptionError, VideoDecodeError

NAMES = ("Lynx", "Maruska640", "Zuzka1", "Zuzka2")
SEQUENCES = ("swan", "dog", "goat")
FRAMES = 14
PATTERN = "JPEGImages/{style}/{video}/{frame:05d}.png"
STATIC, DYNAMIC = 0, 1


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three validation sequences of DAVIS 2016 with flow in both directions."""
    root = davis2016(tmp_path_factory.mktemp("davis") / "DAVIS", FRAMES, splits={"val": SEQUENCES})
    write_flow(root, list_sequences(root, "davis2016", "val"), gaps=(1, -1))
    return root


@pytest.fixture(scope="module")
def styled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames that tell their number, style and sequence, numbered from 0 as those of DAVIS."""
    root = tmp_path_factory.mktemp("styled")
    pattern = FramePattern(PATTERN, first_frame=0)
    videos = dict.fromkeys(SEQUENCES, FRAMES)
    write_marked(root, videos, pattern=pattern, size=(48, 64), names=NAMES)
    content = {"style_set": "four", "style_names": list(NAMES), "style_hash": "abc", "pattern": PATTERN}
    styles = [{"name": name} for name in NAMES]
    (root / "styles.json").write_text(json.dumps({**content, "first_frame": 0, "styles": styles}))
    return root


def module(root: Path, source: Path, **options: Any) -> StyledDavisDataModule:
    options = {"eval_size": (24, 32), "num_workers": 0, "flow": "folder", "batch_size": 4, **options}
    data = StyledDavisDataModule(str(root), str(source), **options)
    data.prepare_data()
    data.setup("validate")
    return data


def items(root: Path, source: Path, **options: Any) -> list[dict[str, Any]]:
    """The pairs one by one."""
    return [
        {name: value[row] for name, value in batch.items()}
        for batch in module(root, source, **options).val_dataloader()
        for row in range(len(batch["id"]))
    ]


def mark(image: torch.Tensor, channel: int) -> int:
    assert image.shape[-3:] == (3, 24, 32)
    values = image[channel]
    assert (values == values[0, 0]).all()
    return int(values[0, 0])


def test_every_frame_but_the_last_of_every_pair_is_a_sample_with_both_sides(styled: Path, source: Path) -> None:
    data = module(styled, source, repetitions=2, seeds=(1, 2))
    lengths = [(sequence.name, FRAMES) for sequence in list_sequences(source, "davis2016", "val")]
    drawn = [(seed, pair) for seed in (1, 2) for pair in data.protocol.draw(lengths, seed)]
    found = items(styled, source, repetitions=2, seeds=(1, 2))
    assert len(found) == len(drawn) * (FRAMES - 1)
    assert data.pair_protocol["pairs_per_seed"] == len(found) // 2
    for number, item in enumerate(found):
        (seed, pair), position = drawn[number // (FRAMES - 1)], number % (FRAMES - 1)
        assert item["id"] == f"{pair.name}/{position:05d}"
        assert (item["sequence"], item["position"], item["num_frames"]) == (pair.name, position, FRAMES)
        assert (item["factor"], item["seed"]) == (pair.factor, seed)
        assert mark(item["image"], 0) == mark(item["paired_image"], 0) == position
        assert (mark(item["image"], 1), mark(item["paired_image"], 1)) == (pair.style_a, pair.style_b)
        assert mark(item["image"], 2) == SEQUENCES.index(pair.name)
        assert (pair.style_a == pair.style_b) == (pair.factor == STATIC)


def test_only_the_flow_of_the_second_side_of_static_pairs_is_jittered(styled: Path, source: Path) -> None:
    plain = VideoSegmentationDataModule(str(source), eval_size=(24, 32), num_workers=0, flow="folder")
    plain.setup("validate")
    originals = plain._datasets["val"][0]
    flows = {item["id"]: item["flow"] for item in map(originals.__getitem__, range(len(originals)))}
    jittered = []
    for item in items(styled, source, seeds=(1,)):
        assert torch.equal(item["flow"], flows[item["id"]])
        changed = not torch.equal(item["paired_flow"], item["flow"])
        assert changed == (item["factor"] == STATIC)
        still = (item["flow"] == 255).all(0)
        assert (item["paired_flow"][:, still] == 255).all(), "no motion stays white"
        if changed:
            jittered.append(item["paired_flow"])
        assert set(item["mask"].unique().tolist()) == {0, 1}
        assert item["annotation"].shape == (48, 64)
    colours = {tuple(flow.flatten(1).min(1).values.tolist()) for flow in jittered}
    assert len(colours) > len(jittered) / 2, "every frame is jittered by a draw of its own"


def test_the_same_options_give_the_same_pairs_and_another_seed_gives_others(styled: Path, source: Path) -> None:
    once, again, other = (items(styled, source, repetitions=1, seeds=(seed,)) for seed in (3, 3, 4))
    for first, second in zip(once, again, strict=True):
        assert torch.equal(first["paired_flow"], second["paired_flow"])
        assert torch.equal(first["paired_image"], second["paired_image"])
    assert [(item["id"], mark(item["image"], 1)) for item in once] != [
        (item["id"], mark(item["image"], 1)) for item in other
    ]


def test_clips_of_two_frames_have_one_offset_for_the_pair_and_jitter_each_picture(styled: Path, source: Path) -> None:
    found = items(styled, source, clip_frames=2, seeds=(1, 2))
    usable = range(1, FRAMES - 1)
    offsets: dict[int, set[int]] = {}
    for number, item in enumerate(found):
        assert item["image"].shape == item["paired_image"].shape == (2, 3, 24, 32)
        assert item["flow"].shape == item["paired_flow"].shape == (2, 6, 24, 32)
        assert item["mask"].shape == (2, 1, 24, 32)
        positions = [mark(frame, 0) for frame in item["image"]]
        assert positions == [mark(frame, 0) for frame in item["paired_image"]]
        assert positions[0] == item["position"]
        assert set(positions) <= set(usable)
        offset = (positions[1] - positions[0]) % len(usable)
        offsets.setdefault(number // len(usable), set()).add(offset)
        pictures = [picture for frame in range(2) for picture in item["paired_flow"][frame].split(3)]
        plain = [picture for frame in range(2) for picture in item["flow"][frame].split(3)]
        changed = [not torch.equal(*both) for both in zip(pictures, plain, strict=True)]
        assert all(changed) if item["factor"] == STATIC else not any(changed)
    assert all(len(seen) == 1 for seen in offsets.values())
    assert 0 not in set.union(*offsets.values())
    assert len(set.union(*offsets.values())) > 3


def test_missing_flow_is_computed_and_kept_beside_the_originals(styled: Path, source: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(source, tmp_path / "DAVIS", ignore=shutil.ignore_patterns("FlowImages*")))
    with pytest.raises(DatasetNotFoundError, match="data flow"):
        module(styled, copy)
    data = module(styled, copy, flow="dis", limit=1)
    assert sorted(path.name for path in (copy / "FlowImages_gap1").iterdir() if path.is_dir()) == ["swan"]
    assert data.pair_protocol["flow"] == "dis"


def test_the_authors_folder_needs_no_styles_json_and_may_lie_beside_the_originals(source: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(source, tmp_path / "DAVIS"))
    for style in range(4):
        for name in SEQUENCES:
            for frame in range(FRAMES):
                path = root / "JPEGImages" / NAMES[style] / name / f"{frame:05d}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                # a little larger than the original, as networks leave it
                Image.new("RGB", (68, 52), (60 * style, 100, 0)).save(path)
    told = module(root, root).pair_protocol
    assert told["style_names"] == list(NAMES)
    assert told["protocol"] == "kowal-davis"
    assert json.loads(json.dumps(told)) == told
    (first, *_) = items(root, root)
    assert first["annotation"].shape == (52, 68)
    assert first["image"].shape == (3, 24, 32)


def test_what_is_missing_is_named(styled: Path, source: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(styled, tmp_path / "styled"))
    (copy / "JPEGImages/Zuzka1/dog/00003.png").unlink()
    with pytest.raises(DatasetNotFoundError, match=r"(?s)00003.png.*1 of 13 frames of sequence 'dog'.*'Zuzka1'"):
        module(copy, source)
    module(copy, source, styles=["Lynx", "Zuzka2"])
    with pytest.raises(DatasetNotFoundError, match="styled frames"):
        module(tmp_path / "nothing", source)
    with pytest.raises(OptionError, match="validate"):
        StyledDavisDataModule(str(styled), str(source), flow="folder").setup("fit")
    with pytest.raises(OptionError, match="setup"):
        StyledDavisDataModule(str(styled), str(source)).val_dataloader()
    with pytest.raises(OptionError, match="clip_frames"):
        module(styled, source, clip_frames=3)
    with pytest.raises(OptionError, match="styles=-1"):
        module(styled, source, styles=-1)
    assert module(styled, source, oddities="zero_offset").pair_protocol["oddities"] == ["zero_offset"]
    (copy / "JPEGImages/Lynx/swan/00000.png").write_bytes(b"no picture")
    with pytest.raises(VideoDecodeError, match=r"swan/00000\.png"):
        items(copy, source, styles=["Lynx", "Zuzka2"], limit=1)


def test_missing_styles_are_found_before_flow_is_computed(styled: Path, source: Path, tmp_path: Path) -> None:
    root = tmp_path / "styled"
    shutil.copytree(styled, root)
    shutil.rmtree(root / "JPEGImages" / NAMES[0] / SEQUENCES[0])
    with pytest.raises(DatasetNotFoundError, match="frames of sequence"):
        module(root, source, flow="dis", flow_dir=str(tmp_path / "flow"))
    assert not (tmp_path / "flow").exists()
