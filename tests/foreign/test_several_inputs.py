# SPDX-License-Identifier: Apache-2.0
"""Models of several inputs, through a triplet function of the user: what it returns is what the model gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader
from toys import count_hooks, loader_of, make_trainer

from staticdropout.callbacks import BiasMonitor, StaticDropout, VideoInputs
from staticdropout.errors import BatchError
from staticdropout.perturbations import Triplet, VideoTriplets

pytestmark = pytest.mark.filterwarnings("ignore:You defined a .validation_step. but have no:UserWarning")

SIZE = 12
CLIPS = 10


def samples(make: Callable[[torch.Generator], dict[str, Any]]) -> list[dict[str, Any]]:
    return [make(torch.Generator().manual_seed(index)) | {"name": f"clip{index}"} for index in range(CLIPS)]


class TwoInputs(LightningModule):
    """A stranger's model of two inputs, which gives masks or classes; its steps know the batch's names."""

    def __init__(self, names: Sequence[str], channels: tuple[int, int], frames: bool, masks: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.names, self.frames, self.masks = names, frames, masks
        kinds: list[Any] = [nn.Conv3d if frames else nn.Conv2d] * 2
        kinds[1] = nn.Conv1d if names[1] == "audio" else kinds[1]
        self.first = kinds[0](channels[0], 8, 3, padding=1)
        self.second = kinds[1](channels[1], 8, 3, padding=1)
        self.fuse = nn.Linear(16, 8)
        self.head = nn.Linear(8, 1 if masks else 2)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        left, right = self.first(first).relu(), self.second(second).relu()
        if self.masks:
            both = torch.cat([left, right], 1).movedim(1, -1)
        else:
            both = torch.cat([left.flatten(2).mean(2), right.flatten(2).mean(2)], 1)
        logits: Tensor = self.head(self.fuse(both).relu())
        return logits

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        loss: Tensor = self(batch[self.names[0]], batch[self.names[1]]).square().mean()
        self.log("train_loss", loss, batch_size=2)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self(batch[self.names[0]], batch[self.names[1]])

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def noise(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=generator)


def frame_pair(batch: dict[str, Any]) -> Triplet:
    """Two frames are a clip of two frames."""
    clip = torch.stack([batch["frame"], batch["next"]], dim=2)
    return Triplet(*(tuple(side.unbind(2)) for side in VideoTriplets()(clip, batch["name"])))


def image_and_flow(batch: dict[str, Any]) -> Triplet:
    """Another flow of the same speeds for the static pair, the image in another style for the dynamic one."""
    still = batch["rgb"].unsqueeze(2).repeat(1, 1, 2, 1, 1)
    anchor, _, restyled = (clip[:, :, 0] for clip in VideoTriplets()(still, batch["name"]))
    motion = batch["motion"]
    return Triplet((anchor, motion), (anchor, -motion.flip(1)), (restyled, motion))


def video_and_audio(batch: dict[str, Any]) -> Triplet:
    """The sound stays."""
    return Triplet(*((side, batch["audio"]) for side in VideoTriplets()(batch["video"], batch["name"])))


def video_and_mask(batch: dict[str, Any]) -> Triplet:
    """The mask stays; inputs by name."""
    return Triplet(
        *({"first": side, "second": batch["mask"]} for side in VideoTriplets()(batch["video"], batch["name"]))
    )


class Case(NamedTuple):
    make: Callable[[torch.Generator], dict[str, Any]]
    module: Callable[[], TwoInputs]
    triplets: Callable[[dict[str, Any]], Triplet]


CASES = {
    "frame pair": Case(
        lambda g: {"frame": noise(g, 3, SIZE, SIZE), "next": noise(g, 3, SIZE, SIZE)},
        lambda: TwoInputs(("frame", "next"), (3, 3), frames=False, masks=True),
        frame_pair,
    ),
    "image and flow": Case(
        lambda g: {"rgb": noise(g, 3, SIZE, SIZE), "motion": 8 * noise(g, 2, SIZE, SIZE) - 4},
        lambda: TwoInputs(("rgb", "motion"), (3, 2), frames=False, masks=True),
        image_and_flow,
    ),
    "video and audio": Case(
        lambda g: {"video": noise(g, 3, 6, SIZE, SIZE), "audio": noise(g, 1, 40)},
        lambda: TwoInputs(("video", "audio"), (3, 1), frames=True, masks=False),
        video_and_audio,
    ),
    "video and mask": Case(
        lambda g: {"video": noise(g, 3, 6, SIZE, SIZE), "mask": (noise(g, 1, 6, SIZE, SIZE) > 0.5).float()},
        lambda: TwoInputs(("video", "mask"), (3, 1), frames=True, masks=True),
        video_and_mask,
    ),
}


def loader(case: str) -> DataLoader[Any]:
    return loader_of(samples(CASES[case].make), 4)


@pytest.mark.parametrize("case", CASES)
def test_a_training_is_measured_at_layers_of_both_inputs(case: str, tmp_path: Path) -> None:
    module = CASES[case].module()
    keys = list(module.state_dict())
    watching = BiasMonitor(
        layers=["first", "second", "fuse"], triplets=CASES[case].triplets, num_groups=2, figures=False, verbose=False
    )
    trainer = make_trainer(tmp_path, [watching], max_epochs=1)
    trainer.fit(module, loader(case), loader(case))
    assert [entry["step"] for entry in watching.history] == [0, 3]
    assert {int(bias.num_clips) for bias in watching.latest.values()} == {CLIPS}
    assert all(bias.unit_scores.isfinite().all() for bias in watching.latest.values())
    assert list(module.state_dict()) == keys
    assert count_hooks(module) == 0
    assert watching.settings["triplets"] == CASES[case].triplets.__name__


@pytest.mark.parametrize("case", CASES)
def test_the_scores_are_those_of_plain_forward_passes(case: str, tmp_path: Path) -> None:
    module, data = CASES[case].module().eval(), loader(case)
    watching = BiasMonitor(layers=["fuse"], triplets=CASES[case].triplets, num_groups=2, figures=False, verbose=False)
    make_trainer(tmp_path, [watching]).validate(module, data, verbose=False)
    kept: list[Tensor] = []

    def keep(module: Any, args: Any, out: Tensor) -> None:
        kept.append(out.flatten(1, -2).mean(1) if out.ndim > 2 else out)

    module.fuse.register_forward_hook(keep)
    sides: list[list[Tensor]] = [[], [], []]
    with torch.no_grad():
        for batch in data:
            for side, member in zip(sides, CASES[case].triplets(batch), strict=True):
                first, second = member.values() if isinstance(member, dict) else member
                module(first, second)
                side.append(kept.pop())
    anchor, *others = (torch.cat(side).double().numpy() for side in sides)
    for row, other in enumerate(others):
        alive = (anchor.std(0) > 0) & (other.std(0) > 0)
        expected = np.diag(np.corrcoef(anchor[:, alive], other[:, alive], rowvar=False), alive.sum())
        np.testing.assert_allclose(watching.latest["fuse"].unit_scores[row].numpy()[alive], expected, atol=1e-4)


def test_what_stays_in_a_triplet_shows_in_the_scores(tmp_path: Path) -> None:
    """A layer that sees the sound alone answers alike to all three."""
    watching = BiasMonitor(layers=["second"], triplets=video_and_audio, num_groups=2, figures=False, verbose=False)
    module = CASES["video and audio"].module()
    make_trainer(tmp_path, [watching]).validate(module, loader("video and audio"), verbose=False)
    bias = watching.latest["second"]
    torch.testing.assert_close(bias.unit_scores, torch.ones_like(bias.unit_scores))


def test_without_a_triplet_function_the_error_says_how_to_call_the_model(tmp_path: Path) -> None:
    watching = BiasMonitor(layers=["fuse"], figures=False, verbose=False)
    module, data = CASES["video and audio"].module(), loader("video and audio")
    with pytest.raises(BatchError, match=r"TwoInputs.forward\(\) needs second besides the video.*forward="):
        make_trainer(tmp_path, [watching]).validate(module, data, verbose=False)


def test_static_dropout_takes_the_other_inputs_from_the_batch(tmp_path: Path) -> None:
    def with_sound(module: Any, video: Tensor, batch: dict[str, Any]) -> Tensor:
        logits: Tensor = module(video, batch["audio"])
        return logits

    callback = StaticDropout(rate=0.5, every_n_steps=1, inputs=VideoInputs(forward=with_sound))
    module = CASES["video and audio"].module()
    make_trainer(tmp_path, [callback], max_epochs=1).fit(module, loader("video and audio"))
    assert callback.dropout is not None
    assert int(callback.dropout.num_clips) == CLIPS
    assert callback.dropout.scores.isfinite().all()
