"""The storage of a search: where Optuna keeps its trials, for later starts and other processes."""

from __future__ import annotations

import re
from pathlib import Path

from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from candelabra.errors import ConfigError

WAIT_SECONDS = 60
"""Time that a process waits while others write to the same SQLite file."""


def open_storage(storage: str) -> BaseStorage:
    """Open or create the storage of a search.

    Args:
        storage: URL of a database, such as `sqlite:///FILE`; or the path of a journal.

    Raises:
        ConfigError: The storage cannot be opened.
    """
    try:
        if "://" not in storage:
            Path(storage).parent.mkdir(parents=True, exist_ok=True)
            return JournalStorage(JournalFileBackend(storage))
        return _database(storage)
    except (ImportError, OSError, ValueError) as error:
        # The message becomes part of the records of the trials, so it must not have the password.
        shown = re.sub(r"(?<=://)[^/]*@", "***@", storage)
        reason = str(error).strip().partition("\n")[0].replace(storage, shown)
        raise ConfigError(f"hydra.sweeper.storage={shown}: cannot be opened: {reason}") from error


def _database(url: str) -> BaseStorage:
    from sqlalchemy import text
    from sqlalchemy.exc import SQLAlchemyError

    sqlite = url.startswith("sqlite:")
    try:
        options = {"connect_args": {"timeout": WAIT_SECONDS}} if sqlite else {}
        storage = RDBStorage(url, engine_kwargs=options)
        if sqlite:
            with storage.engine.connect() as connection:
                # A write-ahead log lets processes read while one of them writes.
                connection.execute(text("PRAGMA journal_mode=WAL"))
    except SQLAlchemyError as error:
        raise ValueError(str(error)) from error
    return storage
