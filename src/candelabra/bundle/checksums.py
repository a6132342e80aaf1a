"""Write and check the checksums of a bundle, which reveal damage but do not prove its author."""

from __future__ import annotations

from pathlib import Path

from candelabra.bundle.folder import read_json
from candelabra.errors import BundleError
from candelabra.files import UNFETCHED, checksum, is_pointer, write_json

CHECKSUMS = "checksums.json"
"""File with the content `{"sha256": {path in the bundle: hexadecimal}}`."""


def write_checksums(folder: Path) -> None:
    """Write the SHA-256 of every file of a bundle; call this after all files are written."""
    checksums = {name: checksum(folder / name) for name in sorted(_files(folder))}
    write_json(folder / CHECKSUMS, {"sha256": checksums})


def check_checksums(folder: Path) -> None:
    """Check that the files of a bundle are unchanged.

    An additional file in `encoder/` is an error too, since transformers might read it, and so is an
    additional JSON or safetensors file. Other files, such as a README, may be added.

    Raises:
        BundleError: If a file is missing, damaged or not allowed, or there are no checksums.
    """
    file = folder / CHECKSUMS
    if not file.is_file():
        raise BundleError(
            f"{folder}: incomplete bundle, it has no file {CHECKSUMS}; save or train it again"
        )
    expected = read_json(file).get("sha256")
    if not isinstance(expected, dict) or not all(isinstance(s, str) for s in expected.values()):
        raise BundleError(f"{file}: sha256 must be an object of checksums by file")
    names = _files(folder)
    for name in sorted(expected.keys() - names):
        raise BundleError(f"{folder}: has no file {name}, which {CHECKSUMS} lists")
    for name in sorted(names & expected.keys()):
        if checksum(folder / name) != expected[name]:
            fault = f"damaged: its checksum differs from that in {CHECKSUMS}"
            if is_pointer(folder / name):
                fault = f"is {UNFETCHED}"
            raise BundleError(f"{folder / name}: {fault}")
    for name in sorted(names - expected.keys()):
        if name.startswith("encoder/") or name.endswith((".json", ".safetensors")):
            raise BundleError(f"{folder / name}: not listed in {CHECKSUMS}")


def _files(folder: Path) -> set[str]:
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return files - {CHECKSUMS}
