"""A model of the Hub that SentenceTransformer has saved, as a folder of this machine."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from candelabra.errors import ConfigError
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

    Raises:
        ConfigError: If the model is not cached and the Hub cannot be reached.
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

    _check_reachable(name, revision)
    try:
        hf_hub_download(name, MODULES, revision=revision)
        return Path(snapshot_download(name, revision=revision, allow_patterns=FILES))
    except (OSError, ValueError, httpx.HTTPError):
        # There is no such file or model: what loads the encoder says which.
        return None


def _check_reachable(name: str, revision: str | None) -> None:
    """Raise an error if a model is not cached and the Hub does not answer one request.

    Downloads would try again for a minute.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import OfflineModeIsEnabled
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]

    # The first version of SentenceTransformer has config.json in a folder of its own.
    settings = (MODULES, "config.json")
    cached = (try_to_load_from_cache(name, file, revision=revision) for file in settings)
    if any(isinstance(file, str) for file in cached):
        return
    try:
        get_hf_file_metadata(hf_hub_url(name, "config.json", revision=revision))
    except (OfflineModeIsEnabled, httpx.TransportError) as error:
        reason = str(error).partition(": ")[0]
        pinned = "" if revision is None else f" --revision {revision}"
        raise ConfigError(
            f"name={name}: the model is not in the cache of the Hub, and the Hub cannot be reached "
            f"({reason}). Name a folder that holds it, or download it where there is a network: "
            f"hf download {name}{pinned}"
        ) from error
    except (OSError, ValueError, httpx.HTTPError):
        return  # The Hub answers: what loads the encoder says what is wrong.
