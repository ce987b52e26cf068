# SPDX-License-Identifier: Apache-2.0
"""What holds for every test."""

from __future__ import annotations

import torch

# The networks in tests are so small that a second thread gains nothing, and on a busy machine threads that wait for
# each other make them a hundred times slower. One thread also fixes the order of summation, which parity needs.
torch.set_num_threads(1)
