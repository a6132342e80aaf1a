"""The tokenizer as other tools open it: what they feed is what candelabra feeds."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

from candelabra.data.tokens import TextTokenizer
from candelabra.exporting.formats import SIDES

INPUTS = ("input_ids", "attention_mask")
"""All that candelabra feeds an encoder; token types are left to its default."""
STALE = ("max_length", "stride", "truncation_strategy", "pad_to_multiple_of")
"""What a checkpoint's tokenizer kept of somebody's last call."""


def save_tokenizer(tokenizer: TextTokenizer, folder: Path) -> None:
    """Writes it with its length, truncation and padding; `tokenizer.json` alone suffices.

    Args:
        tokenizer: Its truncation is one of `SIDES`.
        folder: Gets the files.
    """
    written = deepcopy(tokenizer.tokenizer)
    side = SIDES[tokenizer.truncation]
    written.model_max_length = tokenizer.max_length
    written.padding_side, written.truncation_side = "right", side
    written.model_input_names = list(INPUTS)
    for key in STALE:
        written.init_kwargs.pop(key, None)
    written.init_kwargs["model_input_names"] = list(INPUTS)
    backend = written.backend_tokenizer
    backend.enable_truncation(tokenizer.max_length, direction=side)
    backend.enable_padding(
        direction="right",
        pad_id=tokenizer.pad_id,
        pad_token=written.pad_token,
        pad_type_id=written.pad_token_type_id,
    )
    written.save_pretrained(folder)
