# SPDX-License-Identifier: Apache-2.0
"""Static and dynamic bias of video models: measured while they train, and pushed with StaticDropout."""

from __future__ import annotations

__version__ = "0.1.0"
