"""Model card of an exported model: use, tasks, scores, settings and limits."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from candelabra.bundle.bundle import Bundle
from candelabra.errors import printable
from candelabra.exporting.formats import ExportResult
from candelabra.tables import format_number
from candelabra.version import __version__

UNKNOWN = (
    "Its quality in other languages, and on other kinds of text than its training data, is "
    "unknown.",
    "No licence is stated: those of the pretrained encoder and of the data apply.",
)
PIPELINES = {"tagging": "token-classification", "embedding": "sentence-similarity"}


def card(
    bundle: Bundle, written: ExportResult, *, name: str, model: str, kinds: Mapping[str, str]
) -> str:
    """Return the text of the model card `README.md`.

    Args:
        bundle: The exported bundle.
        written: Description of the export from the format's writer.
        name: Name of the model.
        model: Folder or Hub id with which the example code loads the model.
        kinds: Task -> kind of its head, such as `classification`.
    """
    sections = {
        "Use": f"```python\n{written.usage.replace('{model}', model).rstrip()}\n```",
        "Tasks": _tasks(bundle, kinds),
        "Scores": _scores(bundle),
        **written.tables,
        "Settings": _settings(bundle),
        "Limits": "\n".join(f"- {line}" for line in (*written.limits, *UNKNOWN)),
    }
    trained = ", ".join(_trained_tasks(bundle))
    text = f"# {_plain(name)}\n\nTrained by candelabra {__version__} on: {trained}.\n"
    for title, body in sections.items():
        text += f"\n## {title}\n\n{body}\n"
    return f"---\n{_metadata(bundle, written, name, kinds).to_yaml()}\n---\n\n{text}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table. Markup in the cells is shown as text."""
    lines = [header, ["---"] * len(header), *rows]
    cells = (map(_plain, line) for line in lines)
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def _plain(text: str) -> str:
    """Return a text in one line, in which Markdown shows HTML, links and `|` as text."""
    one_line = " ".join(text.replace("|", " ").split("\n"))
    return html.escape(printable(one_line), quote=False).replace("](", "]\\(")


def _metadata(
    bundle: Bundle, written: ExportResult, name: str, kinds: Mapping[str, str]
) -> ModelCardData:
    datasets = {task: _hub(node.get("source", {})) for task, node in bundle.config.tasks.items()}
    ids = sorted({found for found in datasets.values() if found})
    results = [
        EvalResult(
            task_type=PIPELINES.get(kinds[task], "text-classification"),
            dataset_type=datasets[task] or task,
            dataset_name=datasets[task] or task,
            dataset_split="test",
            metric_type=metric,
            metric_value=round(value, 4),
        )
        for (split, task, metric), value in _headlines(bundle.metrics).items()
        if split == "test" and metric == bundle.config.tasks[task].get("main_metric")
        if not _part(bundle, "test", task)
    ]
    return ModelCardData(
        library_name=written.library,
        pipeline_tag=written.pipeline,
        tags=[*written.tags, "candelabra", "multi-task"],
        datasets=ids or None,
        model_name=name,
        eval_results=results or None,
    )


def _tasks(bundle: Bundle, kinds: Mapping[str, str]) -> str:
    rows = []
    for task, node in bundle.config.tasks.items():
        labels = ", ".join(bundle.labels[task]) or "-"
        kind = kinds[task] if task in _trained_tasks(bundle) else f"{kinds[task]}, only evaluated"
        rows.append([task, kind, labels, source(node.get("source", {}))])
    return table(["task", "kind", "labels", "data"], rows)


def _trained_tasks(bundle: Bundle) -> list[str]:
    """Return the tasks that the model was trained on. The others were only evaluated."""
    return [task for task, node in bundle.config.tasks.items() if node.get("train", True)]


def _scores(bundle: Bundle) -> str:
    metrics = _headlines(bundle.metrics)
    splits = [split for split in ("val", "test") if any(key[0] == split for key in metrics)]
    if not splits:
        return "None are stored in the bundle."
    pairs = dict.fromkeys((task, metric) for _, task, metric in metrics)
    rows = [
        [*pair, *(format_number(metrics.get((split, *pair))) for split in splits)] for pair in pairs
    ]
    names = ["validation" if split == "val" else split for split in splits]
    text = table(["task", "metric", *names], rows)
    parts = [
        f"- {task}, {name}: {part}"
        for task in bundle.labels
        for split, name in zip(splits, names, strict=True)
        if (part := _part(bundle, split, task))
    ]
    measured = f"{text}\n\nMeasured with candelabra, by the run that trained the model."
    return "\n".join([f"{measured} Not on the whole split:\n", *parts]) if parts else measured


def _part(bundle: Bundle, split: str, task: str) -> str:
    """Describe the part of a split that was evaluated; empty for a whole split."""
    name = "validation" if split == "val" else split
    limit = (bundle.config.tasks[task].get("limit") or {}).get(name)
    batches = bundle.config.judged_by_part.get(split)
    parts = [f"up to {limit} examples, drawn by a seed"] if limit is not None else []
    if batches is not None:
        parts.append(f"the first batches only (trainer.limit_{split}_batches={batches})")
    return ", of them ".join(parts)


def _settings(bundle: Bundle) -> str:
    config = bundle.config
    rows = [
        ["encoder", bundle.model.encoder.backbone.config.model_type],
        ["width of an embedding", str(bundle.model.embedding_width())],
        ["max_length", f"{bundle.tokenizer.max_length} tokens"],
        ["truncation", bundle.tokenizer.truncation],
        ["pooling", _name(config.pooling)],
        ["normalize", str(config.normalize).lower()],
    ]
    for task, node in config.tasks.items():
        for key in ("head", "pooling", "loss"):
            if node.get(key):
                given = {k: v for k, v in node[key].items() if not k.startswith("_")}
                rows.append([f"{key} of {task}", f"{_name(node[key])} {given or ''}".strip()])
        for key in ("loss_weight", "layer_mix", "max_tokens"):
            if node.get(key):
                rows.append([f"{key} of {task}", str(node[key])])
    return table(["setting", "value"], rows)


def source(node: Mapping[str, Any]) -> str:
    """Return where data comes from, without the folders of the machine it was on."""
    hub = _hub(node)
    if hub:
        revision = {**node, **node.get("hub", {})}.get("revision")
        return f"{hub} ({revision})" if revision else hub
    files = {**node, **(node.get("files") or {})}
    given = [files[split] for split in ("train", "validation", "test") if files.get(split)]
    paths = [path for each in given for path in ([each] if isinstance(each, str) else each)]
    # A relative path belongs to the data set; an absolute one would reveal the machine's folders.
    names = [path.name if path.is_absolute() else str(path) for path in map(PurePath, paths)]
    return ", ".join(names) or _name(node) or "not stated"


def _hub(node: Mapping[str, Any]) -> str | None:
    """Return the Hub id of a data set, or `None` if it was read from files."""
    if node.get("data_dir") or node.get("folder"):
        return None
    found = (node.get("hub") or node).get("path")
    return str(found) if found else None


def _name(node: Mapping[str, Any]) -> str:
    return str(node.get("_target_", "")).rpartition(".")[2]


def _headlines(metrics: Mapping[str, float]) -> dict[tuple[str, str, str], float]:
    """Return (split, task, metric) -> value, without the metrics of single entity types."""
    keys = {key: tuple(key.split("/")) for key in metrics}
    return {
        (parts[0], parts[1], parts[2]): metrics[key]
        for key, parts in keys.items()
        if len(parts) == 3
    }
