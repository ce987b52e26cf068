# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import LightningModule, seed_everything
from lightning.pytorch.cli import LightningCLI
from sequences import (
    HEIGHT,
    MAKERS,
    WIDTH,
    davis2016,
    davis2017,
    moca_boxes,
    square_mask,
    write_flow,
    write_picture,
    youtube_vos,
)
from toys import make_trainer

from staticdropout.datamodules import SegmentationSource, VideoSegmentationDataModule, list_sequences, run_flow
from staticdropout.datamodules.flow import read_flow
from staticdropout.errors import AnnotationError, DatasetNotFoundError, OptionError, UnknownNameError
from staticdropout.perturbations.flow_colours import colour_to_flow

SMALL: dict[str, Any] = {"size": (32, 40), "num_workers": 0}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DAVIS 2016 with four frames in a sequence and no flow."""
    return davis2016(tmp_path_factory.mktemp("generated") / "DAVIS", number=4)


@pytest.fixture
def root(original: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed as a test likes."""
    return Path(shutil.copytree(original, tmp_path / "DAVIS"))


def module(root: Path, **options: Any) -> VideoSegmentationDataModule:
    return VideoSegmentationDataModule(str(root), **{**SMALL, **options})


def ready(root: Path, stage: str | None = None, **options: Any) -> VideoSegmentationDataModule:
    data = module(root, **options)
    data.prepare_data()
    data.setup(stage)
    return data


def ids(loader: Any) -> list[str]:
    return [name for batch in loader for name in batch["id"]]


class Recorder(LightningModule):
    """Keeps what a Trainer hands to a LightningModule."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen: list[tuple[list[str], int]] = []

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        self.seen.append((batch["id"], int(batch["image"].sum()) + int(batch["flow"].sum())))
        loss: torch.Tensor = self.layer(batch["image"].float().mean().reshape(1, 1)).sum()
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.seen.append((batch["id"], len(batch["annotation"])))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-9)


class OfDavis(VideoSegmentationDataModule):
    """A data set of its own, whose layout cannot be chosen."""

    def __init__(self, root: str, **kwargs: Any) -> None:
        super().__init__(root=root, layout="davis2016", **kwargs)


def test_flow_is_computed_once_and_loaders_give_batches_of_the_contract(root: Path) -> None:
    data = ready(root, eval_size=(24, 40), eval_batch_size=3)
    train, val = list(data.train_dataloader()), list(data.val_dataloader())
    assert sorted(name for batch in train for name in batch["id"]) == [
        f"{video}/0000{position}" for video in ("bear", "dog") for position in range(3)
    ]
    for batch in train:
        assert set(batch) == {"image", "flow", "mask", "id", "sequence", "position", "num_frames"}
        assert batch["image"].shape == batch["flow"].shape == (2, 3, 32, 40)
        assert batch["mask"].shape == (2, 1, 32, 40)
        assert {batch[name].dtype for name in ("image", "flow", "mask")} == {torch.uint8}
    (batch,) = val
    assert batch["id"] == ["swan/00000", "swan/00001", "swan/00002"]
    assert batch["image"].shape == (3, 3, 24, 40)
    assert [mask.shape for mask in batch["annotation"]] == [(HEIGHT, WIDTH)] * 3
    files = sorted(root.glob("FlowImages_gap1/*/*.png"))
    assert len(files) == 9
    times = [file.stat().st_mtime_ns for file in files]
    data.prepare_data()
    assert [file.stat().st_mtime_ns for file in files] == times


def test_pairs_take_backward_flow_too(root: Path) -> None:
    data = ready(root, "fit", clip_frames=2)
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (2, 2, 3, 32, 40)
    assert batch["flow"].shape == (2, 2, 6, 32, 40)
    assert batch["mask"].shape == (2, 2, 1, 32, 40)
    # the ends are in no pair: of four frames the middle two are used, in both directions
    assert len(list(root.glob("FlowImages_gap1/*/*.png"))) == len(list(root.glob("FlowImages_gap-1/*/*.png"))) == 6


def test_only_the_flow_that_a_stage_needs_is_computed(root: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    make_trainer(tmp_path).validate(recorder, datamodule=module(root, eval_batch_size=2), verbose=False)
    assert [count for _, count in recorder.seen] == [2, 1]
    assert {file.parent.name for file in root.glob("FlowImages_gap1/*/*.png")} == {"swan"}
    ready(root, "fit", every=3, limit=1)
    assert sorted(file.stem for file in root.glob("FlowImages_gap1/bear/*.png")) == ["00000"]
    assert not (root / "FlowImages_gap1/dog").exists()


def test_missing_flow_is_named_before_training_with_the_command_that_makes_it(root: Path, tmp_path: Path) -> None:
    data = module(root, flow="folder")
    data.prepare_data()
    with pytest.raises(DatasetNotFoundError, match=r"FlowImages_gap1/bear/00000\.png.*`staticdropout data flow"):
        data.setup("fit")
    run_flow(root, output=tmp_path / "flow", progress=False)
    data = module(root, flow="folder", flow_dir=str(tmp_path / "flow"))
    data.setup("fit")
    assert len(data.train_dataloader()) == 3
    (tmp_path / "flow/FlowImages_gap1/dog/00002.png").unlink()
    with pytest.raises(DatasetNotFoundError, match=r"FlowImages_gap1/dog/00002\.png.*frame 00002 of sequence 'dog'"):
        data.setup("fit")


def test_a_flow_dir_that_cannot_be_written_to_says_which_option_to_set(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match=r"cannot be written to .*file/flow.*--data\.flow_dir"):
        module(root, flow_dir=str(tmp_path / "file/flow")).prepare_data()


def test_an_unknown_method_of_flow_names_those_that_exist(root: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"'raft'.*raft_small"):
        module(root, flow="raft").prepare_data()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: shutil.rmtree(root / "Annotations/480p/dog"), r"'dog' has no masks"),
        (lambda root: (root / "Annotations/480p/dog/00001.png").unlink(), r"mask of frame 00001 of sequence 'dog'"),
        (lambda root: (root / "JPEGImages/480p/dog/00002.jpg").unlink(), r"Frame 00002 of sequence 'dog' is missing"),
        (
            lambda root: write_picture(root / "Annotations/480p/dog/00001.png", square_mask(1, HEIGHT + 2) * 255),
            r"dog/00001\.png' is 64x50 pixels, but its frame 00001\.jpg is 64x48",
        ),
        (lambda root: (root / "ImageSets/480p/train.txt").write_text("dog\n"), r"Line 1 of .*train\.txt.*found 'dog'"),
        (lambda root: (root / "ImageSets/480p/train.txt").write_text(""), r"train\.txt' is empty"),
    ],
    ids=["no masks", "missing mask", "missing frame", "other size", "unknown line", "empty split"],
)
def test_each_fault_of_a_data_set_is_found_before_training(
    root: Path, change: Callable[[Path], object], message: str
) -> None:
    write_flow(root, [video for split in ("train", "val") for video in list_sequences(root, split=split)])
    change(root)
    data = module(root, flow="folder")
    with pytest.raises(AnnotationError, match=message):
        data.setup("fit")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "00001.png").unlink(), r"mask of frame 00001 of sequence 'swan'"),
        (
            lambda folder: write_picture(folder / "00001.png", square_mask(1, HEIGHT + 2) * 255),
            r"64x50 pixels, .*64x48",
        ),
    ],
    ids=["missing mask", "other size"],
)
def test_faults_of_masks_are_reported_before_any_flow_is_computed(
    root: Path, tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    change(root / "Annotations/480p/swan")  # of the validation split, whose flow comes last
    with pytest.raises(AnnotationError, match=message):
        module(root).prepare_data()
    with pytest.raises(AnnotationError, match=message):
        make_trainer(tmp_path).fit(Recorder(), datamodule=module(root))
    assert not list(root.glob("Flow*"))


def test_faults_of_a_split_that_is_not_asked_for_do_not_matter(root: Path, tmp_path: Path) -> None:
    shutil.rmtree(root / "Annotations/480p/dog")
    recorder = Recorder()
    make_trainer(tmp_path).validate(recorder, datamodule=module(root), verbose=False)
    assert len(recorder.seen) == 2


def test_masks_that_are_resized_are_told_of_once(root: Path) -> None:
    write_picture(root / "Annotations/480p/dog/00001.png", square_mask(1, HEIGHT + 2) * 255)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        ready(root, "fit", on_size_mismatch="resize")
    assert sum("1 masks are resized" in str(warning.message) for warning in caught) == 1


def test_several_data_sets_are_trained_on_together(root: Path, tmp_path: Path) -> None:
    other = youtube_vos(tmp_path / "YouTubeVOS")
    data = ready(root, "fit", more=[{"root": str(other), "every": 2, "flow_dir": str(tmp_path / "flow")}])
    names = ids(data.train_dataloader())
    assert len(names) == 2 * 3 + 2 * 2
    assert "003234408d/00010" in names
    assert "003234408d/00005" not in names
    assert len(list((tmp_path / "flow").glob("FlowImages_gap1/*/*.png"))) == 4
    assert len(list(data.annotations())) == len(names)
    assert {mask.shape for mask in data.annotations("val")} == {(HEIGHT, WIDTH)}


def test_negatives_of_one_data_set_are_zero_in_the_other(root: Path, tmp_path: Path) -> None:
    other = davis2016(tmp_path / "other", number=4)
    for name in ("bear", "dog"):
        for position in range(4):
            write_picture(tmp_path / "hed" / name / f"{position:05d}.png", np.full((HEIGHT, WIDTH), 200, np.uint8))
    data = ready(root, "fit", more=[SegmentationSource(str(other), negatives_dir=str(tmp_path / "hed"))], batch_size=12)
    (batch,) = data.train_dataloader()
    assert batch["negatives"].shape == (12, 1, 32, 40)
    assert sorted(int(one.max()) for one in batch["negatives"]) == [0] * 6 + [200] * 6
    assert "negatives" not in next(iter(data.val_dataloader()))


def test_a_wrong_source_says_what_it_may_hold() -> None:
    with pytest.raises(OptionError, match=r"'evry'.*every"):
        module(Path("x"), more=[{"root": "y", "evry": 3}])
    with pytest.raises(OptionError, match="needs a root"):
        module(Path("x"), more=[{"every": 3}])
    with pytest.raises(OptionError, match=r"every must be .*at least 1; got 0"):
        module(Path("x"), more=[{"root": "y", "every": 0}])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (0, 5)}, r"size must be \(height, width\), or one .*at least 1; got \(0, 5\)"),
        ({"size": (4, 5, 6)}, r"size must be \(height, width\).*got \(4, 5, 6\)"),
        ({"size": 0}, r"size must be .*got 0"),
        ({"eval_size": 0}, r"eval_size must be .*got 0"),
        ({"eval_size": "96"}, r"eval_size must be .*got '96'"),
        ({"batch_size": 0}, r"batch_size must be a whole number of at least 1; got 0"),
        ({"eval_batch_size": 0}, r"eval_batch_size must be .*at least 1, or null; got 0"),
        ({"limit": 0}, r"limit must be .*at least 1, or null; got 0"),
        ({"limit": -1}, r"limit must be .*got -1"),
        ({"every": 0}, r"every must be .*at least 1; got 0"),
        ({"eval_max_offset": 0}, r"eval_max_offset must be .*at least 1; got 0"),
        ({"clip_frames": 3}, r"clip_frames must be 1, or 2 .*got 3"),
    ],
)
def test_an_impossible_option_is_refused_when_it_is_given(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=f"^{message}"):
        module(Path("x"), **options)


def test_one_number_is_the_side_of_a_square(root: Path) -> None:
    data = ready(root, "fit", size=24, eval_size=40)
    assert next(iter(data.train_dataloader()))["image"].shape == (2, 3, 24, 24)
    assert next(iter(data.val_dataloader()))["image"].shape == (2, 3, 40, 40)


def test_what_a_network_has_to_agree_with_can_be_read() -> None:
    data = module(Path("x"), flow_encoding="hsv", turn_flow=False, clip_frames=2)
    assert (data.flow_encoding, data.turn_flow, data.clip_frames) == ("hsv", False, 2)


def test_testing_takes_a_test_split_with_masks_and_predicting_any(tmp_path: Path) -> None:
    davis = davis2017(tmp_path / "davis")
    data = ready(davis)
    assert {name.split("/")[0] for name in ids(data.test_dataloader())} == {"swan"}  # test-dev has first masks only
    assert {name.split("/")[0] for name in ids(data.predict_dataloader())} == {"orca"}
    data = ready(davis, "test", test_split="test-dev")
    assert {name.split("/")[0] for name in ids(data.test_dataloader())} == {"orca"}
    data = ready(MAKERS["moca"](tmp_path / "moca"))
    for loader in (data.val_dataloader(), data.test_dataloader(), data.predict_dataloader()):
        assert {name.split("/")[0] for name in ids(loader)} == {"hedgehog_3"}


def test_boxes_are_enough_to_evaluate_but_not_to_train(tmp_path: Path) -> None:
    root = moca_boxes(tmp_path)
    data = ready(root, "test", eval_batch_size=8)
    (batch,) = data.test_dataloader()
    assert batch["box"].shape == (8, 4)
    assert batch["annotation"] == [None] * 8
    with pytest.raises(AnnotationError, match="None of 2 sequences has a frame with a mask"):
        data.setup("fit")


@pytest.mark.parametrize("layout", MAKERS)
def test_every_layout_can_be_trained_on(layout: str, tmp_path: Path) -> None:
    root = MAKERS[layout](tmp_path)
    write_flow(root, [video for split in ("train", "val") for video in list_sequences(root, split=split)])
    data = module(root, layout=layout, flow="folder", batch_size=4)
    data.setup("fit")
    batches = [*data.train_dataloader(), *data.val_dataloader()]
    assert all(0 < float(batch["mask"].float().mean()) < 0.5 for batch in batches)


def test_wrong_splits_and_places_are_named(root: Path, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    with pytest.raises(UnknownNameError, match=r"'vall'.*Close matches: val"):
        trainer.validate(Recorder(), datamodule=module(root, val_split="vall"))
    with pytest.raises(DatasetNotFoundError, match="does not exist"):
        module(tmp_path / "nowhere").prepare_data()


def test_training_with_workers_is_reproducible_after_seed_everything(root: Path, tmp_path: Path) -> None:
    ready(root, "fit")

    def run() -> list[tuple[list[str], int]]:
        seed_everything(11, workers=True, verbose=False)
        recorder = Recorder()
        data = module(root, num_workers=2, clip_frames=1)
        make_trainer(tmp_path, limit_val_batches=0).fit(recorder, datamodule=data)
        return recorder.seen

    first = run()
    assert len(first) == 6
    assert first == run()
    assert sorted(first[:3]) != sorted(first[3:])  # another epoch, other warps


def test_a_checkpoint_holds_plain_values_of_the_options(root: Path, tmp_path: Path) -> None:
    data = module(root, more=[SegmentationSource(str(root))])
    trainer = make_trainer(tmp_path, max_epochs=1, limit_val_batches=0)
    trainer.fit(Recorder(), datamodule=data)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["datamodule_hyper_parameters"]
    assert saved["more"][0]["root"] == str(root)
    again = VideoSegmentationDataModule(**saved)
    assert dict(again.hparams) == dict(data.hparams)
    again.setup("fit")
    assert len(again.train_dataloader()) == 6


@pytest.mark.parametrize(("size", "sides"), [("[24, 40]", (24, 40)), ("40", (40, 40))])
@pytest.mark.filterwarnings("ignore:.*args parameter is intended:UserWarning", "ignore::DeprecationWarning")
def test_options_come_from_the_command_line_also_those_of_a_subclass(
    size: str, sides: tuple[int, int], root: Path, tmp_path: Path
) -> None:
    other = youtube_vos(tmp_path / "YouTubeVOS")
    options = [f"--data.root={root}", f'--data.more=[{{"root": "{other}", "every": 2}}]']
    options += [f"--data.size={size}", f"--data.eval_size={size}"]
    cli = LightningCLI(
        Recorder,
        OfDavis,
        run=False,
        seed_everything_default=False,
        args=[*options, "--data.num_workers=0", "--trainer.logger=false", f"--trainer.default_root_dir={tmp_path}"],
    )
    data = cli.datamodule
    data.prepare_data()
    data.setup("fit")
    assert next(iter(data.train_dataloader()))["image"].shape == (2, 3, *sides)
    assert next(iter(data.val_dataloader()))["image"].shape == (2, 3, *sides)
    assert len(ids(data.train_dataloader())) == 2 * 3 + 2 * 2


def test_flow_of_a_whole_data_set_is_prepared_for_all_splits_and_masks_do_not_matter(tmp_path: Path) -> None:
    root = MAKERS["tao_vos"](tmp_path / "TAO")
    report = run_flow(root, output=tmp_path / "flow", gaps=(1, -1), file_format="flo", progress=False)
    assert (report.written, report.present) == (3 * 4 * 2, 0)
    assert (tmp_path / "flow/Flows_gap-1/YFCC100M/v_1/frame0031.flo").is_file()
    assert run_flow(root, output=tmp_path / "flow", splits=("val",), file_format="flo", progress=False) == (0, 4)
    bare = davis2016(tmp_path / "DAVIS", number=3)
    shutil.rmtree(bare / "Annotations")
    assert run_flow(bare, progress=False).written == 6


def test_real_sequences_are_read_with_two_workers(real_data: Path, tmp_path: Path) -> None:
    root = real_data / "davis16_mini"
    for split in ("train", "val"):
        for video in list_sequences(root, split=split):
            for frame in video.frames[:-1]:
                path = tmp_path / "FlowImages_gap1" / video.name / f"{frame.stem}.png"
                write_picture(path, np.full((8, 8, 3), 255, np.uint8))
    data = module(root, flow="folder", flow_dir=str(tmp_path), num_workers=2, batch_size=14, limit=1)
    data.setup("fit")
    (batch,) = data.train_dataloader()
    assert batch["sequence"] == ["car-shadow"] * 14
    assert batch["num_frames"].tolist() == [24] * 14
    names = ids(data.val_dataloader())
    assert names == [f"blackswan/{index:05d}" for index in range(15)]


def test_flow_of_a_real_sequence_tells_the_object_from_the_background(real_data: Path, tmp_path: Path) -> None:
    source, root = real_data / "davis16_mini", tmp_path / "DAVIS"
    lines = (source / "ImageSets/480p/train.txt").read_text().splitlines()
    chosen = [line for line in lines if "car-shadow" in line][:2]
    for name in " ".join(chosen).split():
        (root / name.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / name.lstrip("/"), root / name.lstrip("/"))
    (root / "ImageSets/480p").mkdir(parents=True)
    (root / "ImageSets/480p/train.txt").write_text("\n".join(chosen))
    data = ready(root, "validate", val_split="train", eval_size=(480, 854))
    (batch,) = data.val_dataloader()
    assert batch["id"] == ["car-shadow/00000"]
    largest = np.hypot(*read_flow(root / "FlowImages_gap1/car-shadow/00000.png")).max()
    flow = colour_to_flow(batch["flow"].float() / 255, max_flow=float(largest))[0]
    mask = batch["mask"][0, 0] == 1
    assert torch.linalg.vector_norm(flow[:, mask].mean(1) - flow[:, ~mask].mean(1)) > 5  # pixels
