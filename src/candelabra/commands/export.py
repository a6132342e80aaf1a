"""Command `candelabra export`: convert a bundle to the format of another library."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from candelabra.bundle.folder import checked_folder, stored_config
from candelabra.checks import installed, one_of
from candelabra.commands.arguments import compose_command
from candelabra.errors import ConfigError, DataError, printable
from candelabra.exporting.folder import check_output, replacing_folder
from candelabra.exporting.formats import (
    FORMATS,
    MARK,
    ONNX,
    ONNX_PACKAGES,
    ExportResult,
    check_task,
    check_truncation,
)

if TYPE_CHECKING:
    from candelabra.bundle.bundle import Bundle
    from candelabra.exporting.int8 import GraphComparison, TestData

HELP = """candelabra export bundle=FOLDER format=NAME output=FOLDER [overrides]

  bundle=FOLDER    a bundle, or a run folder that contains one
  format=NAME      sentence_transformers   SentenceTransformer("FOLDER"): the vectors of embed
                   transformers            pipeline("token-classification", "FOLDER"), or
                                           "text-classification": one task's head
                   onnx                    one graph: the vectors and every head's logits
  output=FOLDER    a new folder; overwrite=true replaces an earlier export
  task=NAME        exports only this task, with its own pooling and adapter
  truncation=head  or tail: for a bundle whose truncation other libraries do not support
  quantize=true    for format=onnx: also writes model_int8.onnx and compares its metrics on
  split=test  data_dir=FOLDER  limit=N  +task@tasks.NAME=OPTION
                   the tasks' data (limit: examples of each task, drawn with a fixed seed)
  push=USER/NAME   uploads to the Hugging Face Hub; private=true
  dry_run=true     shows what would be pushed, without network access
  allow=[]
"""


def main(overrides: list[str]) -> int:
    """Export a bundle, push it if requested and return the exit status."""
    # `task` is verbatim because Hydra would interpret it as the config group of that name.
    cfg, given, _ = compose_command("export", overrides, ("bundle", "output", "task", "push"))
    stored, settings = _check_settings(cfg, given)
    output = Path(given["output"])

    from candelabra.quiet import quiet

    quiet()
    bundle = _load(cfg, given["bundle"], **settings)
    test_data = _load_test_data(cfg, bundle) if cfg.quantize else None
    with replacing_folder(output, overwrite=cfg.overwrite) as draft:
        written = _writer(cfg.format)(bundle, draft, settings["task"])
        lines = [] if written.checked is None else [f"largest difference: {written.checked:.1e}"]
        if test_data is not None:
            lines += _quantize(cfg.split, bundle, draft, written, test_data=test_data)
        written.limits.extend(_truncation_note(bundle, stored))
        _write_description(cfg, given, draft, bundle=bundle, written=written, task=settings["task"])
    print(printable("\n".join([*lines, f"exported: {output}"])))
    if "push" in given:
        _push(cfg, output, given["push"])
    return 0


def _check_settings(cfg: DictConfig, given: dict[str, str]) -> tuple[str, dict[str, Any]]:
    """Check all settings that can be checked without loading the model.

    Returns:
        The truncation of the bundle, and the settings `task` and `truncation` of the export.

    Raises:
        BundleError: The bundle does not exist, or its configuration is damaged.
        ConfigError: A setting is missing or invalid, or a package is not installed.
    """
    if cfg.format is None:
        raise ConfigError(f"export needs format=NAME, one of {', '.join(FORMATS)}")
    one_of("format", cfg.format, FORMATS)
    for key in ("bundle", "output"):
        if not given.get(key):
            raise ConfigError(f"export needs {key}=FOLDER")
    if cfg.quantize and cfg.format != ONNX:
        raise ConfigError(f"quantize=true needs format={ONNX}, got format={cfg.format}")
    if cfg.dry_run and "push" not in given:
        raise ConfigError("dry_run=true shows what would be pushed: it needs push=USER/NAME")
    folder = checked_folder(Path(given["bundle"]))
    check_output(Path(given["output"]), folder, overwrite=cfg.overwrite)
    stored = stored_config(folder)
    if "task" in given:
        one_of("task", given["task"], stored.tasks)
    if cfg.format == ONNX:
        installed(f"format={ONNX}", ONNX_PACKAGES, extra="onnx")
    if "push" in given:
        from candelabra.exporting.hub import check_push

        check_push(given["push"], dry_run=cfg.dry_run)
    truncation = check_truncation(stored.truncation, cfg.truncation)
    task = check_task(cfg.format, given.get("task"), stored)
    return stored.truncation, {"task": task, "truncation": truncation}


def _load(cfg: DictConfig, folder: str, *, task: str | None, truncation: str) -> Bundle:
    """Load the bundle, reduced to one task if requested, with the truncation of the export."""
    from candelabra.bundle.bundle import load
    from candelabra.data.tokens import TextTokenizer

    bundle = load(folder, allow=list(cfg.allow))
    if task is not None:
        bundle = bundle.merged(task)
    old = bundle.tokenizer
    bundle.tokenizer = TextTokenizer(
        old.tokenizer, max_length=old.max_length, truncation=truncation, prompt=old.prompt
    )
    return bundle


def _truncation_note(bundle: Bundle, stored: str) -> list[str]:
    """Return a note if the export truncates texts differently from the bundle."""
    tokenizer = bundle.tokenizer
    if tokenizer.truncation == stored:
        return []
    return [
        f"The bundle truncates long texts with truncation={stored}, this export with "
        f"{tokenizer.truncation}: outputs for more than {tokenizer.max_length} tokens differ."
    ]


def _write_description(
    cfg: DictConfig,
    given: dict[str, str],
    draft: Path,
    *,
    bundle: Bundle,
    written: ExportResult,
    task: str | None,
) -> None:
    """Write the model card and metadata of an export, and print its limitations."""
    from candelabra.exporting.card import card
    from candelabra.files import write_json, write_text

    kinds = {name: bundle.model.head(name).kind for name in bundle.labels}
    name = Path(given["output"]).resolve().name
    text = card(bundle, written, name=name, model=given.get("push", name), kinds=kinds)
    write_text(draft / "README.md", text)
    write_json(draft / MARK, {"format": cfg.format, "tasks": list(bundle.labels), "task": task})
    for limit in written.limits:
        print(printable(f"note: {limit}"), file=sys.stderr)


def _writer(form: str) -> Callable[..., ExportResult]:
    from candelabra.exporting import onnx, sentence_transformers, transformers

    writers = (sentence_transformers.write, transformers.write, onnx.write)
    return dict(zip(FORMATS, writers, strict=True))[form]


def _quantize(
    split: str, bundle: Bundle, draft: Path, written: ExportResult, *, test_data: TestData | str
) -> list[str]:
    """Write the int8 graph and compare it with the float32 graph.

    The comparison is added to the model card.

    Args:
        split: Name of the split of the comparison.
        bundle: Exported bundle.
        draft: Folder of the export.
        written: Description of the export; receives the comparison.
        test_data: Data and metrics of the comparison, or the reason why there are none.

    Returns:
        Lines to print.
    """
    from candelabra.exporting.card import table
    from candelabra.exporting.int8 import measure
    from candelabra.exporting.onnx import FILE, INT8
    from candelabra.model.onnx_graph import quantize

    quantize(draft / FILE, draft / INT8)
    sizes = {name: (draft / name).stat().st_size / 1e6 for name in (FILE, INT8)}
    title = f"{FILE} {sizes[FILE]:.1f} MB, {INT8} {sizes[INT8]:.1f} MB."
    if isinstance(test_data, str):
        reason = f"The int8 graph was not evaluated: {test_data}"
        written.tables["int8"] = f"{title}\n\n{reason}"
        return [reason]
    splits, metrics = test_data
    comparison = measure(draft, bundle.model, splits, metrics, split=split)
    rows = _rows(comparison)
    header = ["task", "metric", "examples", "float32", "int8", "difference"]
    pace = ", ".join(f"{name} {rate:.1f}" for name, rate in comparison.per_second.items())
    where = f"On the {split} split. Texts per second on the machine of the export: {pace}."
    body = f"{table(header, rows)}\n\n{where}"
    written.tables["int8"] = f"{title}\n\n{body}"
    return [
        title,
        "  ".join(header),
        *("  ".join(row) for row in rows),
        f"texts per second: {pace}",
    ]


def _rows(comparison: GraphComparison) -> list[list[str]]:
    """Return the cells of the table: a row for each metric of each task."""
    from candelabra.tables import format_number

    first, second = comparison.metrics.values()
    rows = []
    for key, value in first.items():
        _, task, metric = key.split("/")
        size = str(comparison.sizes[task])
        other = second[key]
        scores = [format_number(value), format_number(other), f"{other - value:+.4f}"]
        rows.append([task, metric, size, *scores])
    return rows


def _load_test_data(cfg: DictConfig, bundle: Bundle) -> TestData | str:
    """Load the data and metrics for the evaluation of the int8 graph.

    Call this before the export, so that an error in the data leaves no files behind.

    Returns:
        Tokenized splits and metrics, or the reason why there are none.

    Raises:
        DataError: The data that the command line names cannot be read.
    """
    from candelabra.build.objectives import objectives
    from candelabra.evaluation.subject import data_of, tasks_of
    from candelabra.exporting.int8 import tokenized
    from candelabra.exporting.onnx import Graph

    outputs = Graph(bundle, None).logits
    stored = {name: node for name, node in bundle.config.tasks.items() if name in outputs}
    if not stored:
        return f"none of the tasks ({', '.join(bundle.labels)}) has an output of the graph"
    try:
        tasks = tasks_of(cfg, stored, bundle.labels)
        data = data_of(tasks, cfg.split)
    except (ConfigError, DataError) as error:
        if cfg.data_dir is not None or cfg.tasks:
            raise
        return str(error)
    splits = {
        name: tokenized(task_data.splits[cfg.split], bundle.tokenizer, cfg.limit)
        for name, task_data in data.items()
    }
    by_task = objectives(tasks, bundle.labels)
    return splits, {name: by_task[name].metrics for name in data}


def _push(cfg: DictConfig, output: Path, repo: str) -> None:
    from candelabra.exporting.hub import plan, push

    message = f"candelabra export: format={cfg.format}"
    if cfg.dry_run:
        print("dry run, nothing was sent; a push would send")
        print(printable("\n".join(plan(output, repo, private=cfg.private, message=message))))
        return
    print(f"pushed: {push(output, repo, private=cfg.private, message=message)}")
