"""Options of the groups of `conf/`, as its folders list them. Imports nothing heavy."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from candelabra.config.targets import conf_dir

WIDTH = 100
"""Number of characters in a line of the table."""


def options(group: str, folders: Sequence[Path] = ()) -> list[str]:
    """Return the names of the options of a group, sorted; none if there is no such group.

    Args:
        group: Name of the group, such as `pooling` or `task/base`.
        folders: Folders of further yamls, which may add options and groups.
    """
    if not all(part.isidentifier() for part in group.split("/")):
        return []
    places = [top / group for top in (conf_dir(), *folders)]
    return sorted({file.stem for place in places for file in place.glob("*.yaml")})


def default_options(command: str) -> dict[str, str | None]:
    """Return the default option of each group that a command chooses from; `None` for no option."""
    node = OmegaConf.load(conf_dir() / f"{command}.yaml")
    entries = [entry for entry in node.defaults if isinstance(entry, DictConfig)]
    return {str(group): option for entry in entries for group, option in entry.items()}


def options_table(command: str, also: Sequence[str] = ()) -> str:
    """Return lines that list the groups of a command with their options, the default one first.

    Args:
        command: Name of the command.
        also: Groups of which the command chooses an option for each task.
    """
    lines = []
    for group, default in (default_options(command) | dict.fromkeys(also)).items():
        others = [name for name in options(group) if name != default]
        names = others if default is None else [default, *others]
        lines += textwrap.wrap(
            ", ".join(names),
            WIDTH,
            initial_indent=f"  {group:<14}",
            subsequent_indent=" " * 16,
            break_on_hyphens=False,
        )
    return "\n".join(lines)
