"""The plain form of a configuration, which is stored: no interpolations and no secrets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, ListConfig, Node, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc

from candelabra.config.environment import MASKED


def plain(cfg: DictConfig) -> dict[str, Any]:
    """Return the resolved configuration as plain dicts and lists, fit to be stored.

    A value that is read from the environment (`oc.env`), also through a reference, may be a secret
    and is masked.
    """
    with _recorded_reads() as reads:
        container = _plain(cfg, reads)
    return {str(key): value for key, value in container.items()}


def environment_keys(cfg: DictConfig) -> list[str]:
    """Return the sorted dotted keys whose values read the environment directly."""
    with _recorded_reads() as reads:
        _plain(cfg, reads)
    return sorted(set(reads))


@contextmanager
def _recorded_reads() -> Iterator[list[str]]:
    """Let `oc.env` append the key of the value that it resolves, at each call.

    The text of a value does not show what it reads, since resolvers can build interpolations.
    """
    reads: list[str] = []

    def recording(*given: Any, _node_: Node) -> Any:
        """Resolve like `oc.env`, and record the key of the value."""
        reads.append(str(_node_._get_full_key(None)))
        return oc.env(*given)

    OmegaConf.register_new_resolver("oc.env", recording, replace=True)
    try:
        yield reads
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)


def _plain(node: Any, reads: list[str]) -> Any:
    if isinstance(node, DictConfig):
        return {key: _value(node, key, reads) for key in node}
    if isinstance(node, ListConfig):
        return [_value(node, index, reads) for index in range(len(node))]
    return node


def _value(parent: Any, key: Any, reads: list[str]) -> Any:
    before = len(reads)
    try:
        value = "???" if OmegaConf.is_missing(parent, key) else parent[key]
    except OmegaConfBaseException:
        if len(reads) == before:
            raise
    return MASKED if len(reads) > before else _plain(value, reads)
