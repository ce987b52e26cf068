# SPDX-License-Identifier: Apache-2.0
"""VideoClassifier on networks with a softmax head, a form taken from a checkpoint, parameters that are not decayed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from small_models import SMALL, small_model
from torch import Tensor, nn
from toys import Clips, loader_of, make_trainer

from staticdropout.callbacks import BiasMonitor, ClassReport, ShuffleConfusion, StaticDropout
from staticdropout.errors import OptionError
from staticdropout.lightning_modules import VideoClassifier
from staticdropout.lightning_modules.parameter_groups import parameter_groups
from staticdropout.models import TimeSformer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def classifier(name: str, num_classes: int = 4, **options: Any) -> VideoClassifier:
    torch.manual_seed(0)
    args = {**SMALL[name], **options.pop("model_args", {})}
    return VideoClassifier(name, num_classes=num_classes, model_args=args, **options)


def clips(count: int = 8, size: int = 32) -> list[dict[str, Any]]:
    data = Clips(count, frames=8, size=size)
    return [data[index] for index in range(count)]


def views(count: int = 4) -> list[dict[str, Any]]:
    return [{**one, "video": torch.stack([one["video"], one["video"].flip(1)])} for one in clips(count)]


@pytest.mark.parametrize("batches", [clips, views])
def test_a_head_that_gives_probabilities_is_scored_as_one_that_gives_logits(batches: Any, tmp_path: Path) -> None:
    found = []
    for mode in ("logits", "softmax"):
        module = classifier("x3d_s", model_args={"head_mode": mode, "zero_init_last_bn": False})
        trainer = make_trainer(tmp_path, [])
        found.append(trainer.test(module, loader_of(batches(), 4), verbose=False)[0])
        predicted: Any = trainer.predict(module, loader_of(batches(), 4))
        torch.testing.assert_close(predicted[0]["probabilities"].sum(1), torch.ones(4))
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_with_a_softmax_over_several_positions_probabilities_are_averaged(tmp_path: Path) -> None:
    module = classifier("slowonly_r18", model_args={"head_mode": "softmax", "pool_size": (8, 1, 1)}).eval()
    video = clips(1, size=64)[0]["video"].unsqueeze(0)
    features: list[Tensor] = []
    module.model.get_submodule("head.fc").register_forward_hook(lambda _m, _i, output: features.append(output))
    with torch.no_grad():
        given = module(video)
    assert features[0].shape == (1, 1, 2, 2, 4)
    torch.testing.assert_close(given, features[0].softmax(-1).mean((1, 2, 3)))


def test_it_trains_on_logits_whatever_the_head_gives_in_evaluation() -> None:
    losses = []
    for mode in ("logits", "softmax"):
        module = classifier("x3d_s", model_args={"head_mode": mode, "zero_init_last_bn": False}).train()
        module.log = lambda *_args, **_kwargs: None  # type: ignore[method-assign]
        batch = next(iter(loader_of(clips(4), 4)))
        losses.append(module.training_step(batch, 0))
    assert torch.equal(*losses)


def test_the_form_that_a_checkpoint_gave_a_model_comes_back_with_its_own_checkpoint(tmp_path: Path) -> None:
    source = small_model("mvit_b_16x4", num_classes=4, last_key_pooling=False)
    torch.save({"model_state": source.state_dict()}, tmp_path / "official.pyth")
    module = classifier("mvit_b_16x4", checkpoint=str(tmp_path / "official.pyth"))
    trainer = make_trainer(tmp_path, [], max_epochs=1)
    trainer.fit(module, loader_of(clips(), 4))
    trainer.save_checkpoint(tmp_path / "own.ckpt")
    (tmp_path / "official.pyth").unlink()
    again = VideoClassifier.load_from_checkpoint(tmp_path / "own.ckpt", weights_only=True)
    assert again.hparams["model_args"]["last_key_pooling"] is False
    ours, theirs = module.model.state_dict(), again.model.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("verb", ["validate", "fit"])
def test_a_module_of_the_other_form_takes_the_form_of_a_checkpoint_of_ours(verb: str, tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, [], max_epochs=1)
    trainer.fit(classifier("mvit_b_16x4", model_args={"last_key_pooling": False}), loader_of(clips(), 4))
    trainer.save_checkpoint(tmp_path / "own.ckpt")
    again = classifier("mvit_b_16x4")
    other = make_trainer(tmp_path, [], max_epochs=2)
    if verb == "fit":
        other.fit(again, loader_of(clips(), 4), ckpt_path=tmp_path / "own.ckpt", weights_only=True)
        assert other.global_step == 4
    else:
        other.validate(again, loader_of(clips(), 4), ckpt_path=tmp_path / "own.ckpt", verbose=False, weights_only=True)
    assert again.hparams["model_args"]["last_key_pooling"] is False
    assert "blocks.3.attn.pool_k.conv.weight" not in again.model.state_dict()


def test_a_checkpoint_is_loaded_with_further_arguments_and_said_to_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = small_model("slowfast_r18_8x8", num_classes=4)
    torch.save({"model_state": source.state_dict()}, tmp_path / "slowfast.pyth")
    with caplog.at_level("INFO"):
        module = VideoClassifier(
            "fastonly_r50",
            num_classes=4,
            model_args={"width": 2, "depth": 18},
            checkpoint=str(tmp_path / "slowfast.pyth"),
            checkpoint_args={"pathway": "fast", "head_mode": "softmax"},
        )
    assert torch.equal(
        module.model.state_dict()["res5.block1.conv_a.weight"], source.state_dict()["fast.res5.block1.conv_a.weight"]
    )
    assert module.model.get_submodule("head").mode == "softmax"
    assert "slowfast.pyth" in caplog.text
    assert "head.fc.weight" in caplog.text  # which stays fresh
    assert module.loaded_from == str(tmp_path / "slowfast.pyth")


def test_a_timesformer_starts_from_an_image_transformer(tmp_path: Path) -> None:
    network = timm.create_model("vit_tiny_patch16_224", img_size=32, pretrained=False)
    torch.save(network.state_dict(), tmp_path / "vit.pth")
    args = {"width": 192, "heads": 3, "depth": 12, "crop_size": 32, "frames": 4}
    options: dict[str, Any] = {"inflate": "vit_tiny_patch16_224", "inflate_weights": str(tmp_path / "vit.pth")}
    module = VideoClassifier("timesformer_divst_8x32", num_classes=4, model_args=args, **options)
    assert isinstance(module.model, TimeSformer)
    expected = network.state_dict()["blocks.3.attn.qkv.weight"]
    assert torch.equal(module.model.get_parameter("blocks.3.time_attn.qkv.weight"), expected)
    with pytest.raises(OptionError, match="inflate is for this package's 3-D ResNets and TimeSformer, not for X3D"):
        classifier("x3d_s", inflate="resnet50")


def test_mvit_decays_only_what_has_more_than_one_dimension() -> None:
    module = classifier("mvit_b_16x4")
    plain, kept = parameter_groups(module, norm_weight_decay=0.0)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    spared = {names[id(parameter)] for parameter in kept["params"]}
    assert spared == {name for name, parameter in module.named_parameters() if parameter.ndim == 1}
    assert len(plain["params"]) + len(kept["params"]) == len(names)
    assert len(parameter_groups(module, norm_weight_decay=None)) == 1


def test_networks_of_timm_that_name_parameters_they_lack_are_trained() -> None:
    network: Any = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=3)
    plain, kept = parameter_groups(network, norm_weight_decay=0.0)
    spared = {id(parameter) for parameter in kept["params"]}
    assert {id(network.pos_embed), id(network.cls_token)} <= spared
    assert id(network.patch_embed.proj.weight) in {id(parameter) for parameter in plain["params"]}


def test_every_run_leaves_its_classes_once(tmp_path: Path) -> None:
    reports = [ClassReport(dirpath=tmp_path / "mine")]
    module = classifier("x3d_s")
    trainer = make_trainer(tmp_path, reports, max_epochs=1)
    trainer.fit(module, loader_of(clips(), 4), loader_of(clips(4), 4))
    assert [path.parent.name for path in tmp_path.rglob("val_classes.csv")] == ["mine"]
    assert module.class_counts is not None
    assert module.class_counts.sum(0)[1] == 4
    other = make_trainer(tmp_path / "other", [], max_epochs=1)
    other.fit(classifier("x3d_s"), loader_of(clips(), 4), loader_of(clips(4), 4))
    assert len(list((tmp_path / "other").rglob("val_classes.csv"))) == 1


@pytest.mark.parametrize("name", ["slowfast_r18_8x8", "x3d_s", "mvit_b_16x4", "timesformer_divst_8x32"])
def test_every_callback_acts_on_every_network(name: str, tmp_path: Path) -> None:
    static = StaticDropout(rate=0.5, every_n_steps=1, min_clips=4)
    monitor = BiasMonitor(layers="paper", num_clips=4, figures=False, verbose=False)
    trainer = make_trainer(tmp_path, [static, monitor, ShuffleConfusion(0.3)], max_epochs=2)
    module = classifier(name)
    trainer.fit(module, loader_of(clips(), 4), loader_of(clips(4), 4))
    assert static.dropout is not None
    assert static.dropout.num_channels == module.model.get_submodule("head.fc").in_features
    assert int(static.dropout.num_masks) == 8  # of clips and shuffled clips, in four steps
    assert static.dropout.scores.isfinite().all()
    assert all(bias.scores.isfinite().all() for bias in monitor.latest.values())
    assert all(p.isfinite().all() for p in module.parameters() if isinstance(p, nn.Parameter))
