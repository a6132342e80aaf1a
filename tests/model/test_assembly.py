from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from hydra.utils import instantiate

from candelabra.errors import ConfigError
from candelabra.model.assembly import assemble
from helpers.small_models import pooling_node, small_encoder

DECODERS: dict[str, dict[str, Any]] = {
    "gpt2": {"n_inner": 32},
    "llama": {"num_key_value_heads": 2},
    "bert": {"is_decoder": True},
}
MODULES = "candelabra.model.sentence_modules.SentenceModules"


def nodes() -> dict[str, dict[str, Any]]:
    cls_alone = {"_target_": MODULES, "_partial_": True, "modes": ["cls"]}
    return {name: pooling_node(name) for name in ("cls", "cls_pooler")} | {"modules": cls_alone}


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("name", ["cls", "cls_pooler", "modules"])
def test_no_pooling_reads_only_the_first_token_of_a_decoder(kind: str, name: str) -> None:
    """Every text would get the same vector."""
    make = partial(assemble, tasks={}, labels={}, make=instantiate)
    with pytest.raises(ConfigError, match=r"must not read the first token of .*, a deco"):
        make(small_encoder(kind, **DECODERS[kind]), pooling=nodes()[name])
    make(small_encoder("bert"), pooling=nodes()[name])
    make(small_encoder(kind, **DECODERS[kind]), pooling=pooling_node("last_token"))
