"""A file that changed since the bundle was written is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from candelabra.bundle.bundle import load
from candelabra.bundle.checksums import CHECKSUMS, check_checksums
from candelabra.errors import BundleError
from helpers.bundles import made


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Every file of a good bundle."""
    folder = tmp_path_factory.mktemp("small") / "bundle"
    made("attention").save(folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def assert_flips_are_noticed(copy: Path, files: dict[str, bytes], cases: int) -> None:
    """One flipped bit anywhere is refused by name, however often the file is large or small."""
    random = Random(cases)
    for case in range(cases):
        name = sorted(files)[case % len(files)]
        spoilt = bytearray(files[name])
        place, bit = random.randrange(len(spoilt)), random.randrange(8)
        spoilt[place] ^= 1 << bit
        (copy / name).write_bytes(spoilt)
        with pytest.raises(BundleError) as caught:
            load(copy)
        assert str(copy) in str(caught.value), (name, place, bit)
        assert "\n" not in str(caught.value)
        (copy / name).write_bytes(files[name])
    assert load(copy).predict("a film")


def test_a_flipped_bit_is_noticed(copy: Path, small: dict[str, bytes]) -> None:
    assert_flips_are_noticed(copy, small, 50)


@pytest.mark.slow
def test_many_flipped_bits_are_noticed(copy: Path, small: dict[str, bytes]) -> None:
    assert_flips_are_noticed(copy, small, 500)


def test_a_file_that_git_lfs_has_not_fetched_is_named(copy: Path) -> None:
    (copy / "heads.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid a\n")
    with pytest.raises(BundleError, match=r"heads\.safetensors: is a pointer of Git LFS"):
        check_checksums(copy)


def test_a_bundle_without_checksums_is_not_whole(copy: Path) -> None:
    (copy / CHECKSUMS).unlink()
    with pytest.raises(BundleError, match=r"incomplete bundle, it has no file checksums\.json"):
        load(copy)


def test_a_killed_save_leaves_no_whole_bundle(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("candelabra.bundle.bundle.write_json", stopped)
    with pytest.raises(KeyboardInterrupt):
        made("attention").save(copy)
    with pytest.raises(BundleError, match=r"incomplete bundle"):
        load(copy)


@pytest.mark.parametrize("stored", [{}, {"sha256": []}, {"sha256": {"config.json": 5}}])
def test_checksums_of_another_type(copy: Path, stored: dict[str, Any]) -> None:
    (copy / CHECKSUMS).write_text(json.dumps(stored))
    with pytest.raises(BundleError, match=r"sha256 must be an object of checksums by file"):
        load(copy)


def test_a_file_that_nobody_wrote(copy: Path) -> None:
    (copy / "README.md").write_text("What I think of it.")
    check_checksums(copy)
    (copy / "encoder" / "chat_template.jinja").write_text("{{ x }}")
    with pytest.raises(BundleError, match=r"jinja: not listed in checksums\.json"):
        check_checksums(copy)
