# SPDX-License-Identifier: Apache-2.0
"""The verbs beside those of the Trainer, ``staticdropout models list`` and so on.

The work is done in the room each belongs to.
"""

from __future__ import annotations

from typing import Any

from .compare import compare
from .data import check_data, prepare_flow
from .models import export_checkpoint, inspect_checkpoint, list_layers, list_models
from .style_check import check_styles
from .style_training import train_style
from .styles import style_sheet
from .stylize import stylize_data

__all__ = (
    "VERBS",
    "check_data",
    "check_styles",
    "compare",
    "export_checkpoint",
    "inspect_checkpoint",
    "list_layers",
    "list_models",
    "prepare_flow",
    "style_sheet",
    "stylize_data",
    "train_style",
)

VERBS: dict[str, Any] = {
    "compare": compare,
    "data": {"check": check_data, "flow": prepare_flow, "stylize": stylize_data},
    "models": {
        "export": export_checkpoint,
        "inspect": inspect_checkpoint,
        "layers": list_layers,
        "list": list_models,
    },
    "styles": {"check": check_styles, "sheet": style_sheet, "train": train_style},
}
"""Groups of verbs, ``staticdropout models list`` and so on, and verbs that stand alone."""
