"""Renew the locks of this folder: exact versions with the checksums of their files.

    pip install uv
    python requirements/renew.py

`uv` resolves `pyproject.toml` for all platforms, and keeps the versions that are locked already:
delete a package from its file to renew it, or all files to renew everything. `torch-cpu.txt` is
written by hand, since the CPU builds of PyTorch are on an index of their own.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

FOLDER = Path(__file__).parent
PROJECT = FOLDER.parent / "pyproject.toml"
# PyTorch and what its CUDA build brings along.
TORCH = re.compile(r"torch|triton|(nvidia|cuda)-.+")
MAIN, EXTRAS, DOCS = ["dev"], ["dev", "all"], ["dev", "all", "docs"]
# What builds candelabra itself and the packages that have no wheel.
BUILD = ["editables", "hatchling>=1.27", "setuptools", "setuptools-scm", "wheel"]


def main() -> None:
    """Write the lock of each target of the Makefile."""
    kept = [line for file in FOLDER.glob("*.txt") for line in pins(file)]
    resolved = {tuple(extras): compiled(extras, kept=kept) for extras in (MAIN, EXTRAS, DOCS)}
    main, extras, docs = resolved.values()
    write("main", {name: main[name] for name in main if not TORCH.fullmatch(name)})
    write("extras", added(extras, main))
    write("docs", added(docs, extras))
    write("torch-cuda", {name: main[name] for name in main if TORCH.fullmatch(name)})
    write("build", compiled([], kept=kept, source="\n".join(BUILD)))


def added(more: dict[str, str], fewer: dict[str, str]) -> dict[str, str]:
    """Return the lines that a lock needs besides another: new packages, and wider markers."""
    return {name: lines for name, lines in more.items() if fewer.get(name) != lines}


def pins(file: Path) -> list[str]:
    """Return the requirements of a lock without their checksums."""
    lines = file.read_text().splitlines()
    return [re.split(r"[ ;+]", line)[0] for line in lines if re.match(r"[A-Za-z0-9._-]+==", line)]


def compiled(extras: list[str], *, kept: list[str], source: str = "") -> dict[str, str]:
    """Resolve the project with some extras, or other requirements.

    Args:
        extras: Extras of the project.
        kept: Requirements with the versions to keep.
        source: Requirements to resolve in place of the project, one a line.

    Returns:
        The lines of each package, by name.
    """
    constraints = FOLDER / ".constraints"
    constraints.write_text("\n".join(kept))
    command = ["uv", "pip", "compile", "--universal", "--python-version", "3.11.5"]
    command += ["--generate-hashes", "--no-header", "--no-annotate", "--allow-unsafe", "--quiet"]
    command += ["--constraint", str(constraints), *(f"--extra={extra}" for extra in extras)]
    command += ["-" if source else str(PROJECT)]
    try:
        done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    finally:
        constraints.unlink()
    if done.returncode:
        raise SystemExit(done.stderr)
    blocks = re.split(r"\n(?=\S)", done.stdout.strip())
    return {block.partition("==")[0]: block for block in blocks}


def write(name: str, blocks: dict[str, str]) -> None:
    """Write a lock in the order of the names."""
    lines = [blocks[package] for package in sorted(blocks)]
    (FOLDER / f"{name}.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
