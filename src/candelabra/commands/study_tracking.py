"""Log a study as a W&B run, with the logger of its training runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from candelabra.commands.study_words import Words
from candelabra.errors import message_of

if TYPE_CHECKING:
    from candelabra.study.view import View


def track_study(view: View, place: Path, words: Words) -> None:
    """Log a study as one W&B run, unless its runs have no W&B logger; an error is a warning.

    Args:
        view: Content of the page.
        place: Folder of the study with the page.
        words: Words of the command line.
    """
    from candelabra.build.study import build_trackers
    from candelabra.study.composing import composed

    try:
        cfg = composed(words.common)
        trackers = build_trackers(
            cfg.logger,
            output_dir=cfg.paths.output_dir,
            folder=place,
            name=f"{words.study} {place.name}",
            group=words.study,
        )
        for tracker in trackers:
            from candelabra.study.tracking import log_study

            log_study(view, place, tracker)
    except (ValueError, OSError) as error:
        reason = message_of(f"the study has no W&B run: {error}")
        print(f"candelabra: warning: {reason}", file=sys.stderr)
