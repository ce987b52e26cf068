# SPDX-License-Identifier: Apache-2.0
"""The networks learn: one batch by heart, camouflaged objects by their motion. Lone streams measure as they must."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import seed_everything
from toys import make_trainer

from staticdropout.callbacks import BiasMonitor
from staticdropout.datamodules import CamouflageDataModule
from staticdropout.lightning_modules import VideoObjectSegmenter
from staticdropout.metrics import region_similarity
from staticdropout.perturbations import FlowTriplets

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

NARROW = {"backbone": "resnet18", "backbone_args": {"channels": (8, 16, 32, 48)}}
MODELS: dict[str, dict[str, Any]] = {
    "matnet": NARROW | {"width": 16, "boundary_width": 8},
    "rtnet34": NARROW,
    "fusionseg_r101": NARROW | {"width": 16, "early_width": 8},
}
ADAM = partial(torch.optim.Adam, lr=3e-3)


def camouflage(root: Path, **options: Any) -> CamouflageDataModule:
    small: dict[str, Any] = {"num_workers": 0, "height": 64, "width": 96, "size": (64, 96)}
    return CamouflageDataModule(str(root), **small, **options)


def overlap(module: VideoObjectSegmenter, batch: dict[str, Any]) -> float:
    """Mean J of the first frames of a batch."""
    with torch.no_grad():
        mask = module(batch["image"], batch["flow"])["mask"] > 0
    similar = region_similarity(mask.flatten(0, -4).squeeze(1), batch["mask"].flatten(0, -4).squeeze(1).bool())
    return float(torch.as_tensor(similar).mean())


@pytest.mark.parametrize("name", MODELS)
def test_every_network_learns_a_batch_by_heart(name: str, tmp_path: Path) -> None:
    seed_everything(0, verbose=False)
    pairs = name == "rtnet34"
    data = camouflage(
        tmp_path / "data",
        num_train=4,
        num_val=2,
        num_frames=4,
        batch_size=2 if pairs else 4,
        clip_frames=2 if pairs else 1,
        flip=0,
        rotation=0,
        scale=(1, 1),
    )
    extra: dict[str, Any] = {"ssim_weight": 1.0, "iou_weight": 1.0} if pairs else {}
    module = VideoObjectSegmenter(name, MODELS[name], optimizer=ADAM, **extra)
    data.prepare_data()
    data.setup("fit")
    batch = module.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    (optimizer,) = [module.configure_optimizers()]
    for _ in range(90):
        optimizer.zero_grad()
        module.loss(module(batch["image"], batch["flow"]), batch["mask"]).backward()
        optimizer.step()
    assert overlap(module, batch) > 0.9


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[VideoObjectSegmenter, CamouflageDataModule]:
    """A small MATNet after a few epochs on camouflaged and salient objects."""
    folder = tmp_path_factory.mktemp("trained")
    seed_everything(0, verbose=False)
    data = camouflage(folder / "data", num_train=32, num_val=8, num_frames=6, batch_size=8)
    module = VideoObjectSegmenter("matnet", MODELS["matnet"], optimizer=ADAM)
    make_trainer(folder, max_epochs=6, limit_val_batches=0).fit(module, datamodule=data)
    return module.eval(), data


def test_on_camouflaged_objects_the_network_beats_itself_without_flow(
    trained: tuple[VideoObjectSegmenter, CamouflageDataModule],
) -> None:
    module, data = trained
    data.setup("validate")
    with_flow, without_flow = [], []
    for batch in data.val_dataloader():
        ready = module.on_after_batch_transfer(batch, 0)
        hidden = torch.tensor([name.startswith("camouflaged") for name in batch["sequence"]])
        part = {name: ready[name][hidden] for name in ("image", "flow", "mask")}
        if hidden.any():
            with_flow.append(overlap(module, part))
            without_flow.append(overlap(module, part | {"flow": torch.ones_like(part["flow"])}))
    mean, mean_without = (sum(values) / len(values) for values in (with_flow, without_flow))
    assert mean > 0.4
    assert mean > mean_without + 0.3


def test_streams_without_cross_connections_are_purely_static_and_purely_dynamic(tmp_path: Path) -> None:
    data = camouflage(tmp_path / "data", num_train=2, num_val=4, num_frames=5, batch_size=3)
    module = VideoObjectSegmenter("fusionseg_r101", MODELS["fusionseg_r101"])
    monitor = BiasMonitor(
        ["model.encoder.connect5[appearance]", "model.encoder.connect5[motion]"],
        triplets=FlowTriplets(),
        num_clips=14,
        num_groups=4,
    )
    make_trainer(tmp_path, [monitor]).validate(module, datamodule=data, verbose=False)
    appearance, motion = (monitor.latest[f"model.encoder.connect5[{name}]"] for name in ("appearance", "motion"))
    assert int(appearance.num_clips) == 14, "the count is exact although batches have three frames"
    # the static pair shares the image, the dynamic pair the flow: what a lone stream gives is equal on both sides
    defined = appearance.unit_scores[0] != 0
    assert defined.any()
    assert (appearance.unit_scores[0][defined] - 1).abs().max() < 1e-9
    defined = motion.unit_scores[1] != 0
    assert defined.any()
    assert (motion.unit_scores[1][defined] - 1).abs().max() < 1e-9
    assert appearance.shares[0] > appearance.shares[1] + 10
    assert motion.shares[1] > motion.shares[0] + 5
    pictures = list(tmp_path.rglob("bias/triplets.png"))
    assert len(pictures) == 1
