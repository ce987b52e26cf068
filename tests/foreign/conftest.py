# SPDX-License-Identifier: Apache-2.0
"""Lets tests import the examples, as the examples import each other."""

from __future__ import annotations

import sys
from pathlib import Path

EXAMPLES = str(Path(__file__).parents[2] / "examples")
if EXAMPLES not in sys.path:
    sys.path.append(EXAMPLES)
