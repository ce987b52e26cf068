# SPDX-License-Identifier: Apache-2.0
"""docs/your_project.md is true: its code runs, its layers exist, its errors are the package's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader
from toys import loader_of

import staticdropout
from staticdropout.callbacks import BiasMonitor, StaticDropout, VideoInputs
from staticdropout.errors import BatchError
from staticdropout.models.layer_names import find_layers
from staticdropout.perturbations import FlowTriplets

ROOT = Path(staticdropout.__file__).parent
PAGE = (ROOT / "docs" / "your_project.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


def section(title: str) -> str:
    return PAGE.split(f"## {title}\n")[1].split("\n## ")[0]


def rows(title: str) -> list[list[str]]:
    """The cells of a section's tables, without heads."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines if "---" not in line][1:]


class YourModule(LightningModule):
    """What the page calls your_module."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Conv3d(3, 8, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(8, 4))
        self.normalize = nn.Identity()

    def forward(self, video: Tensor) -> Tensor:
        logits: Tensor = self.model(video)
        return logits

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self(batch["video"]), batch["label"])

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self(batch["video"])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def data() -> DataLoader[Any]:
    clips = [torch.rand(3, 6, 12, 12, generator=torch.Generator().manual_seed(index)) for index in range(8)]
    return loader_of([{"video": clip, "label": index % 4, "id": f"{index}"} for index, clip in enumerate(clips)], 4)


@pytest.mark.filterwarnings("ignore:The bias was measured on:UserWarning")
def test_the_code_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert len(BLOCKS) == 5
    names: dict[str, Any] = {"your_module": YourModule(), "your_train_loader": data(), "your_val_loader": data()}
    for block in BLOCKS:
        exec(block, names)  # noqa: S102 - our own page
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    for line in section("What is written where").split("```text\n")[1].split("```")[0].splitlines():
        pattern = line.split()[0]
        for name in re.sub(r".*\{(.*)\}.*", r"\1", pattern).split(",") if "{" in pattern else [""]:
            file = re.sub(r"\{.*\}", name, pattern).replace("*", "fit_step_00000002")
            assert file in written
    sound = {"video": torch.rand(2, 3, 4, 8, 8), "id": ["a", "b"], "sound": torch.rand(2, 9)}
    assert all(side[1] is sound["sound"] for side in names["your_triplets"](sound))
    printed = capsys.readouterr().out
    assert "model.0 (2, 8, 6, 14, 14)" in printed
    assert "Static and dynamic bias" in printed


SNIPPETS = re.findall(r"`((?:VideoInputs|BiasMonitor|StaticDropout)\(.*?\))`", section("What to set"))


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_every_argument_of_the_table_exists(snippet: str) -> None:
    names = {
        "VideoInputs": VideoInputs,
        "BiasMonitor": BiasMonitor,
        "StaticDropout": StaticDropout,
        "FlowTriplets": FlowTriplets,
        "torch": torch,
        "your_triplets": lambda batch: batch,
    }
    assert eval(snippet, names) is not None  # noqa: S307 - our own page


def test_the_table_has_its_snippets() -> None:
    assert len(SNIPPETS) >= 18


MODELS: dict[str, Any] = {
    name: getattr(torchvision.models.video, name)
    for name in ("r3d_18", "mc3_18", "r2plus1d_18", "s3d", "mvit_v2_s", "mvit_v1_b", "swin3d_t")
} | {name: lambda name=name: timm.create_model(name) for name in ("resnet18", "vit_tiny_patch16_224")}


@pytest.mark.parametrize("name", MODELS)
def test_the_patterns_of_the_table_find_layers(name: str) -> None:
    (row,) = [cells for cells in rows("Names of layers") if f"`{name}`" in cells[0]]
    project = LightningModule()
    with torch.device("meta"):
        project.model = MODELS[name]()
    patterns = re.findall(r"`(model[^`]*)`", row[1])
    assert patterns
    for pattern in patterns + re.findall(r'layer="(.*?)"', row[2]):
        assert find_layers(project, pattern)


def test_the_errors_of_the_table_are_said_by_the_package() -> None:
    sources = [path.read_text() for room in ("callbacks", "models") for path in (ROOT / room).rglob("*.py")]
    sources.append((ROOT / "errors.py").read_text())
    quoted = [re.match(r"`(.*)`$", cells[0]) for cells in rows("Errors and their fix")]
    assert len(quoted) == 14
    for quote in quoted:
        assert quote is not None
        assert any(quote[1] in source for source in sources), quote[1]


def test_names_that_are_guessed_are_those_of_the_page() -> None:
    for name in ("video", "clip", "frames", "pixel_values"):
        video, other = torch.rand(2, 3, 4, 8, 8), torch.rand(2, 3, 4, 8, 8)
        assert VideoInputs().find({"other": other, name: video}) is video
    with pytest.raises(BatchError, match="may be the video"):
        VideoInputs().find({"other": other, "more": video})
