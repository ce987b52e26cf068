# SPDX-License-Identifier: Apache-2.0
"""Tiny generated videos, and the real ones where they lie beside the repository."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from staticdropout.datamodules import open_video, write_moving_shapes

VIDEOS = "20bn-something-something-v2"


@pytest.fixture(scope="session")
def shapes_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six training, four validation and three test clips of ten frames; do not change it."""
    root = tmp_path_factory.mktemp("generated") / "shapes"
    return write_moving_shapes(
        root, 6, 4, 3, num_classes=2, num_frames=10, height=32, width=40, num_workers=2, progress=False
    )


@pytest.fixture
def root(shapes_root: Path, tmp_path: Path) -> Path:
    """A copy of the generated data set, to be changed as a test likes."""
    copy = tmp_path / "data"
    shutil.copytree(shapes_root, copy)
    return copy


@pytest.fixture
def frames_root(root: Path) -> Path:
    """The generated data set with its videos as folders of JPEG frames."""
    for file in (root / VIDEOS).iterdir():
        folder = root / "frames" / file.stem
        folder.mkdir(parents=True)
        video = open_video(file, reader="decord")
        for number, frame in enumerate(video.get_batch(range(len(video))), start=1):
            Image.fromarray(frame).save(folder / f"{number:04d}.jpg", quality=95)
    shutil.rmtree(root / VIDEOS)
    return root


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real videos."""
    default = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("STATICDROPOUT_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"there are no real videos at {folder} (set STATICDROPOUT_TEST_DATA)")
    return folder
