# SPDX-License-Identifier: Apache-2.0
"""The verbs beside those of the Trainer, ``staticdropout models list`` and so on.

The work is done in the room each belongs to.
"""

from __future__ import annotations

from typing import Any

from .data import check_data, prepare_flow
from .models import list_layers, list_models
from .styles import style_sheet

__all__ = ("VERBS", "check_data", "list_layers", "list_models", "prepare_flow", "style_sheet")

VERBS: dict[str, Any] = {
    "data": {"check": check_data, "flow": prepare_flow},
    "models": {"layers": list_layers, "list": list_models},
    "styles": {"sheet": style_sheet},
}
"""Groups of verbs, ``staticdropout models list`` and so on, and verbs that stand alone."""
