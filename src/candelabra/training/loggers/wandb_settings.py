"""Settings of W&B, of which none may come from the working folder."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator

import wandb
from wandb.sdk import wandb_setup


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """Load the settings of W&B from the environment and the user's own file, if not loaded yet.

    W&B would also read `wandb/settings` of the working folder, where another person could name the
    server that receives the user's key. Inside the block the working folder is an empty one.

    Raises:
        wandb.Error: A setting is wrong.
    """
    # Otherwise W&B reports its own errors over the network, even offline.
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    # W&B has no option for this, and reads the working folder only when it loads its settings.
    with tempfile.TemporaryDirectory() as empty, contextlib.chdir(empty):
        try:
            _ = wandb_setup.singleton().settings
        except ValueError as error:
            reason = " ".join(str(error).split())
            raise wandb.Error(
                f"a setting in a WANDB_ variable or file is wrong: {reason}"
            ) from error
        yield


def take_settings() -> None:
    """Load the settings of W&B as in `own_settings`, and stay in the working folder."""
    with own_settings():
        pass
