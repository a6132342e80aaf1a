"""A run folder as training writes it, with a task of each kind and answers drawn at random."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import yaml

from candelabra.build.rows import tasks_data
from candelabra.evaluation.row_scores import row_scores

NUM_ROWS = 60
HOSTILE = "</style><script>steal()</script>--><img src=x onerror=steal()>\x1b[2J $x^2$ | `a` \u202e"
WORDS = ["when", "did", "tom", "hanks", "play", "in", "1995", "films", "of", "alan", "smithee"]
LABELS = ["bad", "fair", "good"]
TYPES = ["Actor", "Year"]
TAGS = ["O", "B-Actor", "I-Actor", "B-Year", "I-Year"]
COLUMNS = {
    "mood": {"text": "text", "label": "label"},
    "topics": {"text": "text", "labels": "labels"},
    "movie": {"words": "words", "tags": "tags"},
    "stars": {"text": "text", "number": "number"},
    "alike": {"sentence1": "first", "sentence2": "second", "score": "score"},
    "near": {"anchor": "anchor", "positive": "positive", "negative": "negative"},
}
MAIN = {
    "mood": "accuracy",
    "topics": "f1_micro",
    "movie": "f1",
    "stars": "spearman",
    "alike": "spearman",
    "near": "accuracy",
}
NAMED = {"mood": LABELS, "topics": LABELS, "movie": TAGS}


def text(random: Random, row: int) -> str:
    return HOSTILE if row == 3 else f"{row}: {' '.join(random.choices(WORDS, k=6))}"


def row_of(task: str, random: Random, row: int) -> dict[str, Any]:
    """A row of a task's data."""
    one, other, third = (text(random, row) for _ in range(3))
    words = random.choices(WORDS, k=8)
    return {
        "mood": {"text": one, "label": random.choice(LABELS)},
        "topics": {"text": one, "labels": random.sample(LABELS, random.randint(0, 3))},
        "movie": {"words": words, "tags": random_tags(random, 8)},
        "stars": {"text": one, "number": random.uniform(0, 5)},
        "alike": {"first": one, "second": other, "score": random.random()},
        "near": {"anchor": one, "positive": other, "negative": third},
    }[task]


def random_tags(random: Random, size: int) -> list[str]:
    """Valid BIO tags."""
    tags: list[str] = []
    for _ in range(size):
        before = tags[-1] if tags else "O"
        options = ["O", "B-Actor", "B-Year"] + ([f"I-{before[2:]}"] if before != "O" else [])
        tags.append(random.choice(options))
    return tags


def spans_of(words: list[str], tags: list[str], *, score: float | None = None) -> list[Any]:
    """The spans of BIO tags, by a loop of their own."""
    spans: list[dict[str, Any]] = []
    start = 0
    for word, tag in zip(words, tags, strict=True):
        end = start + len(word)
        if tag.startswith("B-"):
            spans.append({"text": word, "type": tag[2:], "start": start, "end": end})
        elif tag != "O":
            spans[-1] |= {"text": f"{spans[-1]['text']} {word}", "end": end}
        start = end + 1
    return [span if score is None else {**span, "score": score} for span in spans]


def prediction_of(task: str, random: Random, row: dict[str, Any]) -> tuple[Any, Any]:
    """A label as predictions hold it, and a random prediction."""
    weights = [random.random() for _ in LABELS]
    shares = {name: weight / sum(weights) for name, weight in zip(LABELS, weights, strict=True)}
    best = max(shares, key=lambda name: shares[name])
    if task == "mood":
        return row["label"], {"label": best, "score": shares[best], "probabilities": shares}
    if task == "topics":
        odds = {name: random.random() for name in LABELS}
        found = [name for name in LABELS if odds[name] > 0.5]
        gold = [name for name in LABELS if name in row["labels"]]
        return gold, {"labels": found, "probabilities": odds}
    if task == "movie":
        tags = row["tags"] if random.random() < 0.5 else random_tags(random, 8)
        gold = spans_of(row["words"], row["tags"])
        return gold, spans_of(row["words"], tags, score=random.random())
    if task == "stars":
        return row["number"], {"number": row["number"] + random.gauss(0, 1)}
    if task == "alike":
        return row["score"], {"similarity": row["score"] + random.gauss(0, 0.3)}
    return 1.0, {"similarity": random.random(), "to_negative": random.random()}


def write_run(root: Path, *, tasks: tuple[str, ...] = tuple(COLUMNS)) -> Path:
    """Write data and a finished run on them; return the run folder."""
    random, folder = Random(0), root / "run"
    (folder / "predictions").mkdir(parents=True)
    settings, metrics = {}, {"val/score": 0.5, "test/score": 0.5}
    for task in tasks:
        rows = [row_of(task, random, row) for row in range(NUM_ROWS)]
        settings[task] = _write_data(root / "data", task, rows)
        metrics |= _write_predictions(folder / "predictions", task, rows, random)
    _write_json(folder / "run.json", _record(settings))
    _write_json(folder / "metrics.json", metrics)
    config = json.loads(json.dumps({"tasks": settings, "batch_size": 8}))  # without references
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "metrics.csv").write_text(history(tasks))
    return folder


def _write_data(folder: Path, task: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Write the same rows as both splits of a task; return the settings of the task."""
    folder.mkdir(exist_ok=True)
    files = {split: folder / f"{task}-{split}.jsonl" for split in ("train", "test")}
    for file in files.values():
        _write_lines(file, rows)
    paths = {split: str(file) for split, file in files.items()}
    return {
        "source": {"_target_": "candelabra.data.Files", **paths},
        "columns": COLUMNS[task],
        "labels": NAMED.get(task),
        "main_metric": MAIN[task],
        "head": {"_target_": "candelabra.model.heads.ClassificationHead", "dropout": 0.1},
    }


def _write_predictions(
    folder: Path, task: str, rows: list[dict[str, Any]], random: Random
) -> dict[str, float]:
    """Write random predictions of a task; return its metrics."""
    said = [prediction_of(task, random, row) for row in rows]
    lines = [
        {"row": place, "label": label, "prediction": prediction}
        for place, (label, prediction) in enumerate(said)
    ]
    _write_lines(folder / f"{task}.jsonl", lines)
    scored = row_scores(MAIN[task], lines)
    assert scored is not None
    return {
        f"val/{task}/{MAIN[task]}": 0.4,
        f"test/{task}/loss": 1.25,
        f"test/{task}/{MAIN[task]}": scored.value,
    }


def _record(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the content of `run.json`."""
    data = tasks_data(settings, only="test")
    return {
        "run_id": "20260101-000000-abcd",
        "status": "finished",
        "started": "2026-01-01T00:00:00+00:00",
        "overrides": ["batch_size=8", "tags=[a b]"],
        "config_dirs": [],
        "seed": 3,
        "steps": 300,
        "fit_seconds": 100.0,
        "device": "cpu",
        "git_commit": "ab" * 20,
        "versions": {"candelabra": "0.1.0"},
        "fingerprints": {task: found.fingerprint for task, found in data.items()},
    }


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content))


def _write_lines(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def history(tasks: tuple[str, ...]) -> str:
    columns = ["step", "val/score"]
    columns += [key for task in tasks for key in (f"train/{task}/loss", f"val/{task}/{MAIN[task]}")]
    lines = [",".join(columns)]
    for epoch in range(3):
        cells: list[float] = [99 + 100 * epoch, 0.4 + 0.1 * (epoch % 2)]
        for place in range(len(tasks)):
            cells += [2 - 0.3 * epoch + 0.1 * place, 0.5 + 0.05 * epoch - 0.02 * place]
        lines.append(",".join(f"{cell:g}" for cell in cells))
    return "\n".join(lines) + "\n"


def lines_of(folder: Path, task: str) -> list[dict[str, Any]]:
    file = folder / "predictions" / f"{task}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]
