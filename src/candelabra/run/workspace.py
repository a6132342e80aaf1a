"""A W&B workspace for the runs of a folder, with charts of tasks, schedule and gradients.

`make dashboard ONLINE=1` runs this module, which needs an account (`wandb login`) and the extra
`dashboard`.
"""

from __future__ import annotations

import argparse
import csv
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from candelabra.errors import ConfigError, UserError, message_of
from candelabra.training.axes import axis_of, chart_name

if TYPE_CHECKING:
    from wandb_workspaces.workspaces import Workspace

NAME = "candelabra"
PROJECT = "candelabra"
PLACES = ("*/metrics.csv", "*/*/metrics.csv", "*/*/*/metrics.csv")
"""Places of the metrics of runs, of trials and of the runs of studies below the output folder."""
ALL, SCHEDULE, GRADIENTS = "all tasks", "schedule", "gradients"
RULES = (
    (ALL, r"(?:val|test)/score", "score"),
    (ALL, r"train/loss", "loss"),
    ("task {task}", r"(?:val|test)/(?P<task>[^/]+)/(?P<metric>[^/]+)", "{metric}"),
    ("task {task}", r"train/(?P<task>[^/]+)/loss", "loss"),
    ("task {task}", r"losses/(?P<task>[^/]+)/raw", "loss of a step"),
    (SCHEDULE, r"train/[^/]+/(?P<metric>share|drawn|repeated|left_out|padding)", "{metric}"),
    (SCHEDULE, r"losses/[^/]+/weight", "weight of the loss"),
    (SCHEDULE, r"lr-.+", "learning rate"),
    (
        GRADIENTS,
        r"gradients/(?P<pair>[^/]+)/[^/]+/(?P<metric>cosine|noise|conflict_share|norm_ratio)",
        "{pair}: {metric}",
    ),
    (GRADIENTS, r"train/grad_norm", "norm of the gradient"),
)
"""Section, pattern of metrics in `metrics.csv`, title of their chart; the first match counts."""
PICTURE = "pictures/gradients"

Charts = dict[str, list[str]]
"""Title of a chart -> names of its metrics in `metrics.csv`."""


def main(argv: Sequence[str] | None = None) -> int:
    """Send the workspace of a folder, print its address, and return the exit status."""
    parser = argparse.ArgumentParser("candelabra.run.workspace", description=__doc__)
    parser.add_argument("outputs", type=Path, help="folder of all runs")
    parser.add_argument("--project", help="project in W&B; default: that of the latest run")
    parser.add_argument("--entity", help="user or team in W&B; default: yours")
    given = parser.parse_args(argv)
    try:
        files = metric_files(given.outputs)
        sections = sections_of(logged_metrics(files))
        project = given.project or project_of(files[0].parent)
        print(send(sections, project=project, entity=given.entity))
    except UserError as error:
        print(f"candelabra: error: {message_of(str(error))}", file=sys.stderr)
        return 2
    return 0


def metric_files(outputs: Path) -> list[Path]:
    """Return the `metrics.csv` of every run, the latest first.

    Args:
        outputs: Folder of all runs.

    Raises:
        ConfigError: There is none.
    """
    found = chain.from_iterable(outputs.glob(place) for place in PLACES)
    files = sorted(found, key=lambda file: file.stat().st_mtime, reverse=True)
    if not files:
        raise ConfigError(f"{outputs}: no run with a metrics.csv; candelabra train writes one")
    return files


def logged_metrics(files: Iterable[Path]) -> list[str]:
    """Return the names of all metrics that runs logged, sorted."""
    names: set[str] = set()
    for file in files:
        with file.open(encoding="utf-8", errors="replace", newline="") as stream:
            names.update(next(csv.reader(stream), []))
    return sorted(names - {"step", ""})


def project_of(folder: Path) -> str:
    """Return the W&B project of a run; the default one if its configuration names none."""
    try:
        config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        return str(config["logger"]["wandb"]["project"])
    except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError):
        return PROJECT


def sections_of(metrics: Iterable[str]) -> dict[str, Charts]:
    """Arrange metrics in charts, and charts in sections.

    Args:
        metrics: Names as in `metrics.csv`. Those that belong to no section are left out.

    Returns:
        Title of a section -> its charts: all tasks together, each task, schedule and gradients.

    Example:
        >>> sections_of(["lr-AdamW", "val/movie/f1", "test/movie/f1", "epoch"])
        {'task movie': {'f1': ['val/movie/f1', 'test/movie/f1']}, 'schedule': \
{'learning rate': ['lr-AdamW']}}
    """
    sections: dict[str, Charts] = {}
    for metric in metrics:
        for section, pattern, title in RULES:
            if found := re.fullmatch(pattern, metric):
                charts = sections.setdefault(section.format(**found.groupdict()), {})
                name = title.format(**found.groupdict()).replace("_", " ")
                charts.setdefault(name, []).append(metric)
                break
    order = {ALL: 0, SCHEDULE: 2, GRADIENTS: 3}
    return dict(sorted(sections.items(), key=lambda each: order.get(each[0], 1)))


def workspace_of(sections: Mapping[str, Charts], *, project: str, entity: str) -> Workspace:
    """Return the definition of the workspace.

    Args:
        sections: Charts by section.
        project: Project in W&B.
        entity: User or team in W&B.
    """
    from wandb_workspaces.reports.v2.interface import MediaBrowser
    from wandb_workspaces.workspaces import Section, Workspace

    made = []
    for title, charts in sections.items():
        panels: list[Any] = [_line_plot(name, metrics) for name, metrics in charts.items()]
        if title == GRADIENTS:
            panels.append(MediaBrowser(title=PICTURE, media_keys=[PICTURE]))
        made.append(Section(name=title, panels=panels, is_open=True))
    # W&B adds panels below for everything else, such as tables and confusion matrices.
    return Workspace(
        entity=entity, project=project, name=NAME, sections=made, auto_generate_panels=True
    )


def send(sections: Mapping[str, Charts], *, project: str, entity: str | None = None) -> str:
    """Save the workspace at W&B as a new view, and return its address.

    Args:
        sections: Charts by section.
        project: Project in W&B.
        entity: User or team in W&B; `None` is who is logged in.

    Raises:
        ConfigError: The extra is not installed, nobody is logged in, or W&B refuses.
    """
    if find_spec("wandb_workspaces") is None:
        raise ConfigError("the workspace needs: pip install 'candelabra[dashboard]'")
    import wandb

    from candelabra.training.loggers.wandb_settings import own_settings

    with own_settings():
        try:
            if not wandb.login(prompt=False, verify=False):
                raise ConfigError("nobody is logged in to W&B; run `wandb login`")
            owner = entity or wandb.Api().default_entity
            if not owner:
                raise ConfigError("W&B names no user or team of yours: add --entity NAME")
            return str(workspace_of(sections, project=project, entity=owner).save().url)
        except (wandb.Error, OSError) as error:
            raise ConfigError(f"W&B refused the workspace: {error}") from error


def _line_plot(title: str, metrics: Sequence[str]) -> Any:
    """Return a chart over optimizer steps, or over a task's examples for its training."""
    from wandb_workspaces.reports.v2.interface import LinePlot

    tasks = {metrics[0].split("/")[1]} if metrics[0].count("/") > 1 else set()
    axis = chart_name(axis_of(metrics[0], tasks))
    return LinePlot(title=title, x=axis, y=[chart_name(metric) for metric in metrics])


if __name__ == "__main__":
    sys.exit(main())
