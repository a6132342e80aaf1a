from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from candelabra.config import MASKED, plain


def test_secrets_of_the_environment_are_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "hunter2")
    cfg = OmegaConf.create(
        {
            "key": "${oc.env:A_SECRET}",
            "inside": "user:${oc.env:A_SECRET}",
            "behind": ["${key}", {"deeper": "${inside}"}],
            "harmless": "${number}",
            "number": 3,
        }
    )
    assert "hunter2" in OmegaConf.to_yaml(cfg, resolve=True)
    stored = plain(cfg)
    assert "hunter2" not in str(stored)
    assert stored["key"] == stored["behind"][0] == MASKED
    assert stored["harmless"] == 3
