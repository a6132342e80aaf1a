"""Fuzzing of run folders: one message, or a run that can be checked."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest
import torch
import yaml

from candelabra.run.resume import stored_run
from helpers.fuzzing import changed_json, mutated, one_message_or_none


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    torch.save({"state_dict": {}}, folder / "checkpoints" / "resume.ckpt")
    record = {"overrides": ["encoder=tiny", "seed=1"], "config_dirs": [], "cwd": str(tmp_path)}
    record |= {"run_id": "20260101-000000-abcd", "status": "failed", "precision": "32-true"}
    record |= {"fingerprints": {"mood": {"train": "x"}}, "resumed": []}
    (folder / "run.json").write_text(json.dumps(record))
    config = {"paths": {"run_dir": str(folder), "output_dir": "outputs"}, "tasks": {}, "seed": 1}
    config |= {"trainer": {"accumulate_grad_batches": 1, "val_check_interval": None}, "logger": {}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def fuzz(folder: Path, cases: int) -> None:
    random, names = Random(cases), ("run.json", "config.yaml")
    good = {name: (folder / name).read_bytes() for name in names}
    config = yaml.safe_load(good["config.yaml"])
    stored_run(str(folder)).check(config)
    for case in range(cases):
        name = names[case % 2]
        if random.random() < 0.7:
            changed, what = changed_json(yaml.safe_load(good[name]), random)
            dump = json.dumps if name == "run.json" else yaml.safe_dump
            (folder / name).write_text(dump(changed))
        else:
            (folder / name).write_bytes(mutated(good[name], random))
            what = "bytes"
        with one_message_or_none((case, name, what)) as messages:
            found = stored_run(str(folder))
            found.command(["trainer.max_epochs=2"])
            found.check_data({"mood": {"train": "x"}})
            found.check(config)
        assert not messages or str(folder) in messages[0] or "_target_" in messages[0]
        (folder / name).write_bytes(good[name])


def test_changed_run_folders(run: Path) -> None:
    fuzz(run, 30)


@pytest.mark.slow
def test_many_changed_run_folders(run: Path) -> None:
    fuzz(run, 200)
