# SPDX-License-Identifier: Apache-2.0
"""The marker that ties a test to a cell of the table in ``docs/trainer.md``."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cell(row, callback): asserts what a cell of docs/trainer.md claims")
