"""The private members of transformers that are read exist, and answer for each architecture."""

from __future__ import annotations

import pytest
from transformers import AutoModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from candelabra.model import internals

SMALL = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 9}


@pytest.mark.parametrize(("kind", "sdpa"), [("bert", True), ("mpnet", False)])
def test_transformers_answers(kind: str, sdpa: bool) -> None:
    model = AutoModel.from_config(CONFIG_MAPPING[kind](**SMALL), attn_implementation="eager")
    assert internals.attention_name(model) == "eager"
    assert internals.supports_sdpa(model) is sdpa
    assert internals.supports_other_attention(model) is sdpa
    if sdpa:
        model.set_attn_implementation("sdpa")
        assert internals.attention_name(model) == "sdpa"
