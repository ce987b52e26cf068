# SPDX-License-Identifier: Apache-2.0
"""Read what W&B wrote offline: a LevelDB log of protocol buffers."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE_HEADER, BLOCK, RECORD_HEADER = 7, 2**15, 7
FULL, FIRST, LAST = 1, 2, 4


def _pieces(content: bytes) -> Iterator[bytes]:
    """The records of a LevelDB log: each in one piece, or in several that lie in blocks of their own."""
    position, whole = FILE_HEADER, b""
    while position + RECORD_HEADER <= len(content):
        left = BLOCK - position % BLOCK
        if left < RECORD_HEADER:  # too little for a header: the block ends in zeros
            position += left
            continue
        length, kind = int.from_bytes(content[position + 4 : position + 6], "little"), content[position + 6]
        start = position + RECORD_HEADER
        piece, position = content[start : start + length], start + length
        if len(piece) < length:
            return
        whole = piece if kind in (FULL, FIRST) else whole + piece
        if kind in (FULL, LAST):
            yield whole


def _records(path: Path) -> list[Any]:
    messages: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")
    return [messages.Record.FromString(content) for content in _pieces(path.read_bytes())]


def wandb_history(folder: Path, patience: float = 60.0) -> list[dict[str, Any]]:
    """Everything that was logged, row by row, in the only run below a folder, once it has ended.

    ``wandb.finish()`` returns before the process that writes the file is done; its last record says that it is.
    """
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    deadline = time.monotonic() + patience
    while not any(record.WhichOneof("record_type") == "exit" for record in _records(path)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} has no end after {patience} seconds.")
        time.sleep(0.01)
    rows = [record.history.item for record in _records(path) if record.WhichOneof("record_type") == "history"]
    return [{item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in row} for row in rows]
