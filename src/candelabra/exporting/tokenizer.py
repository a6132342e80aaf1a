"""Export the tokenizer so that other tools produce the same inputs as candelabra."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

from candelabra.data.tokens import TextTokenizer
from candelabra.exporting.formats import SIDES
from candelabra.model.onnx_graph import INPUTS

STALE = ("max_length", "stride", "truncation_strategy", "pad_to_multiple_of")
"""Settings of earlier tokenizer calls, which a checkpoint may have stored."""


def save_tokenizer(tokenizer: TextTokenizer, folder: Path) -> None:
    """Write the tokenizer so that `tokenizer.json` alone defines length, truncation and padding.

    Args:
        tokenizer: Tokenizer whose truncation is one of `SIDES`.
        folder: Existing folder for the files.
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
