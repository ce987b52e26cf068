# SPDX-License-Identifier: Apache-2.0
"""``torch.compile``: what is dropped and what is measured is what the eager model drops and gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from toys import ToyClassifier, count_hooks, loaders, make_trainer, same_weights
from trainer_watch import AtClassifier, Watched, both, seeded, watch


@pytest.fixture(autouse=True)
def _forget_what_was_compiled() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def eager(module: ToyClassifier) -> Any:
    return module


def network(module: ToyClassifier) -> Any:
    module.backbone.compile(backend="eager")
    return module


def wrapped(module: ToyClassifier) -> Any:
    module.backbone = torch.compile(module.backbone, backend="eager")  # type: ignore[assignment]
    return module


def whole(module: ToyClassifier) -> Any:
    return torch.compile(module, backend="eager")


def run(
    folder: Path, how: Callable[[ToyClassifier], Any], first: bool = True
) -> tuple[Watched, AtClassifier, LightningModule]:
    plain = seeded()
    module = how(plain) if first else plain
    watched, recorder = watch(), AtClassifier()
    trainer = make_trainer(folder, [*both(watched), recorder], max_epochs=1)
    module = module if first else how(plain)
    torch.manual_seed(1)
    trainer.fit(module, *loaders())
    return watched, recorder, plain


@pytest.mark.cell("torch.compile before the callbacks are made", "StaticDropout")
@pytest.mark.cell("torch.compile after the callbacks are made", "StaticDropout")
@pytest.mark.cell("torch.compile before the callbacks are made", "BiasMonitor")
@pytest.mark.cell("torch.compile after the callbacks are made", "BiasMonitor")
@pytest.mark.parametrize(("how", "first"), [(whole, True), (network, False)])
def test_compiled_modules_are_thinned_and_measured_as_eager_ones(
    tmp_path: Path, how: Callable[[ToyClassifier], Any], first: bool
) -> None:
    expected, plainly, _ = run(tmp_path, eager)
    watched, recorder, module = run(tmp_path, how, first)
    assert watched.probes == expected.probes == [0, 2, 4]
    assert watched.masks == 6
    assert {count for batch in recorder.dropped for count in batch} == {8}
    for ours, theirs in zip(recorder.seen, plainly.seen, strict=True):
        assert torch.equal(ours == 0, theirs == 0)
    torch.testing.assert_close(watched.scores(), expected.scores(), rtol=0, atol=1e-6)
    torch.testing.assert_close(watched.static(), expected.static(), rtol=0, atol=1e-4)
    assert watched.points == [0, 6]
    assert count_hooks(module) == 0


@pytest.mark.cell("torch.compile of a network that has run before", "BiasMonitor")
@pytest.mark.parametrize("how", [network, wrapped])
def test_bias_of_a_network_that_was_compiled_and_run_before_is_that_of_the_eager_one(
    tmp_path: Path, how: Callable[[ToyClassifier], Any]
) -> None:
    results = []
    for compiled in (eager, how):
        module = compiled(seeded())
        module.eval()
        module(torch.rand(8, 3, 6, 12, 12))
        watched = watch()
        make_trainer(tmp_path, both(watched)).validate(module, loaders()[1], verbose=False)
        results += watched.static()
    assert results[0] == pytest.approx(results[1], abs=1e-4)


@pytest.mark.cell("torch.compile of a network that has run before", "StaticDropout")
@pytest.mark.parametrize("how", [network, wrapped])
def test_channels_are_dropped_in_a_network_that_was_compiled_and_trained_before(
    tmp_path: Path, how: Callable[[ToyClassifier], Any]
) -> None:
    module, watched = how(seeded()), watch()
    make_trainer(tmp_path, max_epochs=1).fit(module, *loaders())
    make_trainer(tmp_path, both(watched), max_epochs=1).fit(module, *loaders())
    assert watched.probes == [0, 2, 4]
    assert watched.masks == 6


@pytest.mark.cell("torch.compile of a network that has run before", "StaticDropout")
def test_nothing_is_dropped_in_a_compiled_network_after_the_training(tmp_path: Path) -> None:
    module, watched, recorder = network(seeded()), watch(), AtClassifier()
    make_trainer(tmp_path, both(watched), max_epochs=1).fit(module, *loaders())
    make_trainer(tmp_path, [recorder], max_epochs=1).fit(module, *loaders())
    assert {count for batch in recorder.dropped for count in batch} == {0}
    assert watched.masks == 6


def full_graph(module: ToyClassifier) -> Any:
    module.backbone.compile(backend="eager", fullgraph=True)
    return module


@pytest.mark.cell("torch.compile(fullgraph=True)", "StaticDropout")
def test_a_full_graph_is_refused_by_torch_and_leaves_no_hook(tmp_path: Path) -> None:
    module, watched = full_graph(seeded()), watch()
    with pytest.raises(torch._dynamo.exc.Unsupported, match=r"torch\.compiler\.disable"):
        make_trainer(tmp_path, both(watched), max_epochs=1).fit(module, *loaders())
    assert count_hooks(module) == 0


@pytest.mark.cell("torch.compile(fullgraph=True)", "BiasMonitor")
def test_a_full_graph_is_measured_as_the_eager_network(tmp_path: Path) -> None:
    results = []
    for how in (eager, full_graph):
        watched = watch()
        torch.manual_seed(1)
        make_trainer(tmp_path, [watched.monitor], max_epochs=1).fit(how(seeded()), *loaders())
        results.append(watched.static())
    assert results[0] == pytest.approx(results[1], abs=1e-4)


@pytest.mark.cell("torch.compile before the callbacks are made", "StaticDropout")
def test_training_a_compiled_network_at_rate_zero_is_bit_identical(tmp_path: Path) -> None:
    modules = []
    for callbacks in ([], both(watch(rate=0.0))):
        module = network(seeded())
        torch.manual_seed(1)
        make_trainer(tmp_path, callbacks, max_epochs=1).fit(module, *loaders())
        modules.append(module)
    assert same_weights(*modules)
