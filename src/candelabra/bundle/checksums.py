"""The checksums of a bundle's files, by which damage is noticed. They do not prove who wrote it."""

from __future__ import annotations

from pathlib import Path

from candelabra.bundle.folder import read_json
from candelabra.errors import BundleError
from candelabra.files import checksum, write_json

CHECKSUMS = "checksums.json"
"""`{"sha256": {path below the bundle: hexadecimal}}`."""


def write_checksums(folder: Path) -> None:
    """Write the SHA-256 of every file of a bundle, which is the last thing written into it."""
    found = {name: checksum(folder / name) for name in sorted(_files(folder))}
    write_json(folder / CHECKSUMS, {"sha256": found})


def check_checksums(folder: Path) -> None:
    """Refuse a bundle with a file that is not as it was written.

    A file of `encoder/` that nobody wrote is refused too, since transformers might read it.
    Elsewhere a person may add files, such as a README.

    Raises:
        BundleError: A file is missing, damaged or not known, or there are no checksums.
    """
    file = folder / CHECKSUMS
    if not file.is_file():
        raise BundleError(
            f"{folder}: no whole bundle, it has no file {CHECKSUMS}; save or train it anew"
        )
    expected = read_json(file).get("sha256")
    if not isinstance(expected, dict) or not all(isinstance(s, str) for s in expected.values()):
        raise BundleError(f"{file}: sha256 must be an object of checksums by file")
    names = _files(folder)
    for name in sorted(expected.keys() - names):
        raise BundleError(f"{folder}: has no file {name}, of which {CHECKSUMS} speaks")
    for name in sorted(names & expected.keys()):
        if checksum(folder / name) != expected[name]:
            raise BundleError(f"{folder / name}: damaged: its checksum is not that of {CHECKSUMS}")
    for name in sorted(names - expected.keys()):
        if name.startswith("encoder/") or name.endswith((".json", ".safetensors")):
            raise BundleError(f"{folder / name}: a file of which {CHECKSUMS} does not speak")


def _files(folder: Path) -> set[str]:
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return files - {CHECKSUMS}
