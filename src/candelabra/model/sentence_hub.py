"""A model of the Hub that SentenceTransformer has saved, as a folder of this machine."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from candelabra.model.sentence_folder import MODULES, is_sentence_folder

ID = re.compile(r"[\w.-]+/[\w.-]+|[\w.-]+")
"""Form of an id of the Hub."""
FILES = ["*.json", "*.txt", "*/*.safetensors"]
"""Settings, tokenizers and modules; transformers fetches the encoder itself."""


def sentence_home(name: str, revision: str | None) -> Path | None:
    """Return the folder of a model that SentenceTransformer has saved, or `None` for others.

    Args:
        name: Folder, or id of the Hub, whose settings are downloaded unless they are cached.
        revision: Revision of the Hub; `None` is the newest.
    """
    if is_sentence_folder(name):
        return Path(name)
    if Path(name).exists() or not ID.fullmatch(name):
        return None
    return _of_the_hub(name, revision)


@cache
def _of_the_hub(name: str, revision: str | None) -> Path | None:
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    try:
        hf_hub_download(name, MODULES, revision=revision)
        return Path(snapshot_download(name, revision=revision, allow_patterns=FILES))
    except (OSError, ValueError, httpx.HTTPError):
        # There is no such file or model, or no network: what loads the encoder says which.
        return None
