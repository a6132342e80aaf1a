"""Run folders as training writes them, with answers drawn at random: studies in a second."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from candelabra.evaluation.row_scores import row_scores
from candelabra.study.decisions import share_or_separate
from candelabra.study.inputs import ArmRuns, Study
from candelabra.study.loading import load_arm

NUM_ROWS = 400
METRICS = {"sentiment": "accuracy", "movie": "f1"}
SKILLS = {"separate": 0.8, "shared": 0.8, "adapters": 0.9}


def share_rule(result: Any) -> Any:
    return share_or_separate(result, shared="shared")


def write_run(
    folder: Path,
    tasks: Sequence[str],
    *,
    seed: int = 0,
    skill: float = 0.8,
    num_rows: int = NUM_ROWS,
    names: Mapping[str, str] | None = None,
    **record: Any,
) -> None:
    """Write a finished run; `names` renames tasks, `record` changes `run.json`."""
    names = names or {}
    metrics: dict[str, float] = {}
    for task in tasks:
        rows = predictions(METRICS[task], seed=seed, skill=skill, num_rows=num_rows)
        name, metric = names.get(task, task), METRICS[task]
        scored = row_scores(metric, rows)
        assert scored is not None
        metrics[f"test/{name}/{metric}"] = float(np.float32(scored.value))
        file = folder / "predictions" / f"{name}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = {"tasks": {names.get(task, task): {"main_metric": METRICS[task]} for task in tasks}}
    facts = {"status": "finished", "seed": seed, "fit_seconds": 100.0 + seed}
    facts |= {"versions": {"candelabra": "0.1.0"}, "overrides": [f"seed={seed}"]}
    facts |= {
        "fingerprints": {names.get(task, task): {"test": "ab" * 32} for task in tasks},
        **record,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True))
    (folder / "run.json").write_text(json.dumps(facts))
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "metrics.csv").write_text(history([names.get(task, task) for task in tasks], seed))


def predictions(metric: str, *, seed: int, skill: float, num_rows: int) -> list[dict[str, Any]]:
    """Rows of a predictions file; a row is as difficult for every seed."""
    difficulty = np.random.default_rng(9).normal(0, 0.2, num_rows)
    lucky = np.random.default_rng(seed + 100).random(num_rows) < skill + difficulty
    rows: list[dict[str, Any]] = []
    for row, right in enumerate(lucky.tolist()):
        if metric == "accuracy":
            label = ["no", "yes"][row % 2]
            said: Any = {"label": label if right else "other"}
        else:
            label = [{"text": "it", "type": "Actor", "start": 0, "end": 2}]
            said = label if right else []
        rows.append({"row": row, "label": label, "prediction": said})
    return rows


def history(tasks: Sequence[str], seed: int) -> str:
    """A `metrics.csv` of three epochs."""
    columns = ["step"]
    for task in tasks:
        metric = METRICS.get(task, "accuracy")
        columns += [f"val/{task}/{metric}", f"train/{task}/drawn", f"train/{task}/repeated"]
        columns += [f"train/{task}/left_out"]
    pair = [f"gradients/{tasks[0]}_vs_{tasks[1]}/all/cosine"] if len(tasks) > 1 else []
    lines = [",".join(columns + pair)]
    for epoch in range(3):
        cells: list[float] = [99 + 100 * epoch]
        for place in range(len(tasks)):
            cells += [0.6 + 0.1 * epoch + 0.01 * seed - 0.05 * place, 320, 20 * place, 0]
        cells += [0.05 - 0.03 * epoch + 0.005 * seed for _ in pair]
        lines.append(",".join(f"{cell:g}" for cell in cells))
    return "\n".join(lines) + "\n"


def write_arms(
    root: Path,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    skills: Mapping[str, float] = SKILLS,
    names: Mapping[str, str] | None = None,
) -> dict[str, dict[int, list[Path]]]:
    """Write the runs of all arms; the first arm has a model for each task."""
    folders: dict[str, dict[int, list[Path]]] = {}
    for place, (arm, skill) in enumerate(skills.items()):
        for seed in seeds:
            parts = [[task] for task in METRICS] if place == 0 else [list(METRICS)]
            for part in parts:
                folder = root / "runs" / f"{place}-{seed}-{len(part)}-{part[0]}"
                write_run(folder, part, seed=7 * place + seed, skill=skill, names=names)
                folders.setdefault(arm, {}).setdefault(seed, []).append(folder)
    return folders


def study_of(root: Path, folders: Mapping[str, Mapping[int, list[Path]]], **facts: Any) -> Study:
    """The study of these folders; the first arm is the baseline."""
    arms: list[ArmRuns] = [load_arm(name, of_arm, root=root) for name, of_arm in folders.items()]
    settings: dict[str, Any] = {
        "name": "sharing",
        "question": "Share one encoder, or train one for each task?",
        "arms": arms,
        "baseline": arms[0].name,
        "margins": {"sentiment": 0.005, "movie": 0.01},
        "decide": share_rule,
        "command": "candelabra study study=sharing",
        "resamples": 300,
    }
    return Study(**(settings | facts))
