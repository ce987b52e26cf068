# SPDX-License-Identifier: Apache-2.0
"""Trainers on the device that an option names."""

from __future__ import annotations

import logging
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger


def place(device: str) -> dict[str, Any]:
    """Options of a Trainer that runs on this one device: ``cpu``, ``cuda`` or ``cuda:1``."""
    asked = torch.device(device)
    if asked.type == "cuda":
        return {"accelerator": "gpu", "devices": [asked.index or 0]}
    return {"accelerator": "cpu", "devices": 1}


def trainer_for(
    device: str,
    callbacks: list[Callback],
    precision: Any = "32-true",
    logger: Logger | None = None,
    max_epochs: int = 1,
) -> Trainer:
    """A Trainer on one device that says and saves nothing."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    return Trainer(
        **place(device),
        max_epochs=max_epochs,
        precision=precision,
        callbacks=callbacks,
        logger=logger or False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
