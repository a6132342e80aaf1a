"""Record of a run in its folder: configuration, identity, status and metrics."""

from __future__ import annotations

import importlib.metadata
import platform
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from candelabra.files import checksum, read_json, remove_drafts, write_json, write_text

PACKAGES = (
    "candelabra",
    "torch",
    "pytorch-lightning",
    "transformers",
    "sentence-transformers",
    "datasets",
    "torchmetrics",
    "hydra-core",
    "wandb",
    "peft",
    "torchjd",
)

CHECKPOINT = Path("checkpoints", "resume.ckpt")
"""The checkpoint from which a run resumes, in its folder."""
EARLIER = "earlier_checkpoint"
"""Entry of `run.json`: SHA-256 of the checkpoint that was there before the run."""

WRITTEN = {
    ".": ("config.yaml", "run.json", "metrics.json", "metrics.csv", "gradients.png", "wandb"),
    "checkpoints": ("*.ckpt",),
    "bundle": ("config.json", "labels.json", "metrics.json"),
    "predictions": ("*.jsonl",),
}
"""Subfolder -> patterns of the files that a run first writes under a temporary name."""


def is_of_run(checkpoint: Path, record: Mapping[str, Any]) -> bool:
    """Return whether a run wrote its checkpoint, and not an earlier run in its folder.

    Args:
        checkpoint: Path of the checkpoint.
        record: Content of the run's `run.json`.
    """
    if not checkpoint.is_file():
        return False
    return EARLIER not in record or checksum(checkpoint) != record[EARLIER]


@dataclass
class RunFolder:
    """Writer of the files that identify a run and record its result.

    Each file is written whole or not at all.

    Args:
        path: Run folder.
        run_id: Id of the run, which a resumed run keeps.
        record: Content of `run.json`.
        writes: Whether this process writes; only the first of several processes does.
    """

    path: Path
    run_id: str
    record: dict[str, Any] = field(default_factory=dict)
    writes: bool = True

    def start(
        self, config: Mapping[str, Any], overrides: list[str], config_dirs: Sequence[str] = ()
    ) -> None:
        """Write the resolved `config.yaml`, and `run.json` with the status `running`.

        An unfinished run that was in the folder before may have left its checkpoint. Its checksum
        becomes part of the record, so that this run is not resumed from it.
        """
        earlier = self.path / CHECKPOINT
        if self.writes:
            self._remove_drafts()
            if earlier.is_file():
                self.record[EARLIER] = checksum(earlier)
            text = OmegaConf.to_yaml(OmegaConf.create(dict(config)))
            write_text(self.path / "config.yaml", text)
        self.update(
            run_id=self.run_id,
            status="running",
            started=_now(),
            overrides=overrides,
            config_dirs=[str(Path(folder).absolute()) for folder in config_dirs],
            cwd=str(Path.cwd()),
            seed=config["seed"],
            git_commit=_git_commit(),
            python=platform.python_version(),
            machine=platform.machine(),
            versions={name: _version(name) for name in PACKAGES},
        )

    def reopen(self) -> None:
        """Reopen `run.json` of a resumed run, and keep the entries of the first start."""
        if self.writes:
            self._remove_drafts()
        for key in ("ended", "error"):
            self.record.pop(key, None)
        self.update(status="running", resumed=[*self.record.get("resumed", []), _now()])

    def update(self, **facts: Any) -> None:
        """Add entries to `run.json`."""
        self.record.update(facts)
        if self.writes:
            write_json(self.path / "run.json", self.record)

    def finish(self, status: str, *, error: str | None = None) -> None:
        """Record in `run.json` how the run ended, such as `finished` or `failed`."""
        self.update(status=status, ended=_now(), **({} if error is None else {"error": error}))

    def _remove_drafts(self) -> None:
        """Remove the temporary files of a killed run; links to other folders are not followed."""
        for name, written in WRITTEN.items():
            if not (self.path / name).is_symlink() or name == ".":
                remove_drafts(self.path / name, written)

    def write_metrics(self, values: Mapping[str, float]) -> None:
        """Write `metrics.json`, one flat object of numbers."""
        write_json(self.path / "metrics.json", dict(values))


def record_end(file: Path, status: int) -> None:
    """Record a failure that the first process did not know, or did not live to write.

    Args:
        file: `run.json` of the run, which is left alone if it is missing.
        status: Exit status of the processes; not 0, and not that of a signal to all of them.
    """
    record = read_json(file)
    if record and status - 128 in signal.valid_signals():
        name = signal.Signals(status - 128).name
        write_json(file, {**record, "status": "failed", "error": f"a process died of {name}"})
    elif record.get("status") in ("interrupted", "running"):
        # Another process had failed, so the launcher interrupted the first one.
        write_json(file, {**record, "status": "failed"})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Return the git commit of the code, or `None` if it is not run from a git checkout."""
    checkout = Path(__file__).resolve().parents[3]
    if not (checkout / ".git").exists():
        return None
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    try:
        completed = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return completed.stdout.strip() or None
