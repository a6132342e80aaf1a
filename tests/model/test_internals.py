"""The private members of transformers that are read exist, and answer for each architecture."""

from __future__ import annotations

import pytest
from transformers import AutoModel

from candelabra.model import internals
from helpers.small_models import small_config


@pytest.mark.parametrize(("kind", "sdpa"), [("bert", True), ("mpnet", False)])
def test_transformers_answers(kind: str, sdpa: bool) -> None:
    model = AutoModel.from_config(small_config(kind), attn_implementation="eager")
    assert internals.attention_name(model) == "eager"
    assert internals.supports_sdpa(model) is sdpa
    assert internals.supports_other_attention(model) is sdpa
    if sdpa:
        model.set_attn_implementation("sdpa")
        assert internals.attention_name(model) == "sdpa"
