"""Separate the words of `candelabra study`: those of the study, of its runs, and of Hydra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from candelabra.commands.arguments import split_config_dir, split_verbatim
from candelabra.config.grammar import quoted

OWN = ("study", "seeds", "plan", "output_dir")
VERBATIM = ("output", "from", "arms")


@dataclass(frozen=True)
class Words:
    """The words of the command line, separated by what they configure.

    Attributes:
        own: Overrides of the study.
        common: Overrides of `candelabra train` for every run.
        launcher: Overrides of Hydra that choose the launcher.
        flags: Flags of Hydra.
        verbatim: Values that are used as they are, by key.
    """

    own: Sequence[str]
    common: Sequence[str]
    launcher: Sequence[str] = ()
    flags: Sequence[str] = ()
    verbatim: Mapping[str, str] = field(default_factory=dict)

    @property
    def study(self) -> str:
        """Return the name of the study."""
        named = (word.partition("=")[2] for word in self.own if _key(word) == "study")
        return next(named, "sweep" if "from" in self.verbatim else "sharing")


def sort_words(overrides: Sequence[str]) -> Words:
    """Separate the overrides of the study from those of its runs."""
    verbatim, rest = split_verbatim(overrides, VERBATIM)
    words, folder = split_config_dir(rest)
    own = [word for word in words if _key(word).split(".")[0] in OWN]
    launcher = [word for word in words if _key(word).startswith("hydra")]
    common = [word for word in words if word not in own and word not in launcher]
    flags = [] if folder is None else ["--config-dir", str(folder)]
    if folder is not None:
        common.append(f"hydra.searchpath=[{quoted(f'file://{folder}')}]")
    return Words(own, common, launcher, flags, verbatim)


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")
