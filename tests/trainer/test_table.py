# SPDX-License-Identifier: Apache-2.0
"""The tables in ``docs/trainer.md`` and the tests belong together: every cell has a test, and every test a cell."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CALLBACKS = {"StaticDropout", "BiasMonitor", "ShuffleConfusion"}

Cell = tuple[str, str]

ELSEWHERE: dict[Cell, str] = {
    ("several validation loaders", "BiasMonitor"): (
        "tests/callbacks/test_bias_monitor.py::test_one_of_several_validation_loaders_is_chosen"
    ),
    ("a smaller last batch", "BiasMonitor"): (
        "tests/callbacks/test_bias_monitor.py::test_only_the_first_clips_are_measured_whatever_the_batches"
    ),
    ("num_workers, persistent_workers", "BiasMonitor"): (
        "tests/callbacks/test_bias_monitor.py"
        "::test_training_is_bit_identical_with_persistent_workers_and_without_a_sanity_check"
    ),
    ("two of them in one Trainer", "StaticDropout"): (
        "tests/callbacks/test_static_dropout.py::test_two_of_them_work_on_two_layers_with_states_of_their_own"
    ),
    ("two of them in one Trainer", "BiasMonitor"): (
        "tests/callbacks/test_bias_monitor.py::test_two_monitors_with_two_names_keep_their_files_curves_and_state_apart"
    ),
    ("accumulate_grad_batches", "ShuffleConfusion"): (
        "tests/callbacks/test_shuffle_confusion.py::test_accumulated_batches_give_the_gradients_of_large_ones"
    ),
    ("log_every_n_steps", "ShuffleConfusion"): (
        "tests/callbacks/test_shuffle_confusion.py::test_it_logs_with_the_trainer_and_not_more_often"
    ),
    ("an exception in a step", "ShuffleConfusion"): (
        "tests/callbacks/test_shuffle_confusion.py::test_the_module_has_its_step_back_after_an_error"
    ),
    ("deepcopy and pickle of the module", "ShuffleConfusion"): (
        "tests/callbacks/test_shuffle_confusion.py::test_a_copy_from_the_midst_of_training_has_its_own_step_alone"
    ),
    ("BaseFinetuning", "ShuffleConfusion"): (
        "tests/callbacks/test_shuffle_confusion.py::test_a_layer_in_eval_mode_stays_in_it_with_its_statistics"
    ),
    ("StaticDropout beside it", "ShuffleConfusion"): (
        "tests/callbacks/test_shuffle_confusion.py::test_the_extra_pass_is_thinned_by_static_dropout_whatever_the_order"
    ),
    ("DropoutFreeFinetune beside it", "ShuffleConfusion"): (
        "tests/callbacks/test_shuffle_confusion.py::test_it_goes_on_where_training_ends_without_dropout"
    ),
    ("DDP, use_distributed_sampler=False", "ShuffleConfusion"): (
        "tests/callbacks/test_shuffle_confusion_ranks.py::test_two_ranks_compute_what_one_process_does_with_their_clips"
    ),
}
"""Cells whose property is asserted by a test of the callbacks."""


def table() -> dict[Cell, str]:
    """What each cell of the tables claims; a row is named by its first column."""
    cells: dict[Cell, str] = {}
    columns: list[str] = []
    for line in (ROOT / "docs" / "trainer.md").read_text().splitlines():
        if not line.startswith("|"):
            columns = []
            continue
        row, *claims = (part.strip() for part in line.strip("|").split("|"))
        if set(claims) <= CALLBACKS:
            columns = claims
        elif columns and not row.startswith("---"):
            name = row.replace("`", "")
            assert len(claims) == len(columns), line
            assert (name, columns[0]) not in cells, f"two rows are called {name}"
            cells |= {(name, callback): claim for callback, claim in zip(columns, claims, strict=True)}
    return cells


def functions(path: Path) -> dict[str, ast.FunctionDef]:
    """The tests in a file."""
    nodes = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)]
    return {node.name: node for node in nodes if node.name.startswith("test_")}


def marked() -> dict[Cell, list[str]]:
    """The tests of this folder by the cell that they are marked with."""
    tests: dict[Cell, list[str]] = {}
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        for name, function in functions(path).items():
            for node in function.decorator_list:
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.cell":
                    row, callback = (ast.literal_eval(argument) for argument in node.args)
                    tests.setdefault((row, callback), []).append(f"{path.name}::{name}")
    return tests


def test_every_cell_says_something() -> None:
    cells = table()
    assert len(cells) > 100
    assert all(cells.values())


def test_every_cell_has_a_test() -> None:
    assert not set(table()) - set(marked()) - set(ELSEWHERE)


def test_no_test_names_a_cell_that_is_not_in_the_table() -> None:
    assert set(marked()) | set(ELSEWHERE) <= set(table())


@pytest.mark.parametrize("place", sorted(set(ELSEWHERE.values())))
def test_the_tests_that_are_elsewhere_exist(place: str) -> None:
    path, name = place.split("::")
    assert name in functions(ROOT / path)
