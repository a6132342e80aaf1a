"""Limit of the time that a run waits for the service of W&B, a process of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from candelabra.training import internals

_log = logging.getLogger(__name__)

_GRACE_SECONDS = 5.0


def within_seconds(seconds: float, action: Callable[[], object]) -> None:
    """Apply an action of W&B, and end its service if it does not answer in time.

    If the service is frozen and its buffer is full, W&B waits without end, even to log a row; its
    own timeout for the end of a run does not hold then.

    Args:
        seconds: Time for the answer, after which 5 s remain before the service is ended.
        action: Function that calls W&B. Its errors are raised.

    Raises:
        TimeoutError: If the action still waits when the service has ended.
    """
    errors: list[Exception] = []

    def act() -> None:
        """Apply the action, and keep its error for the thread that waits."""
        try:
            action()
        except Exception as error:  # noqa: BLE001 (raised below)
            errors.append(error)

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    thread.join(seconds + _GRACE_SECONDS)
    if thread.is_alive():
        _log.warning(
            "W&B did not answer within %g s, its service is ended; `wandb sync` uploads what was "
            "written",
            seconds,
        )
        internals.kill_wandb_service()
        thread.join(_GRACE_SECONDS)
        if thread.is_alive():
            raise TimeoutError("W&B does not answer although its service has ended")
    if errors:
        raise errors[0]
