from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

import pytest

from candelabra.embedding import workers
from candelabra.embedding.embedder import Embedder
from candelabra.errors import DataError
from helpers.bundles import made
from helpers.corpora import TEXTS
from helpers.killed import killed


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return made().embedder()


class Recorded(Executor):
    """In place of processes: what was handed to them, and is done when a test says so."""

    begun: list[Future[Any]]

    def __init__(self, *_: object, **__: object) -> None:
        Recorded.begun = []

    def submit(self, work: Callable[..., Any], /, *_: Any, **__: Any) -> Future[Any]:
        self.begun.append(Future())
        return self.begun[-1]


@pytest.fixture
def _recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "ProcessPoolExecutor", Recorded)
    monkeypatch.setattr(workers, "PART", 2)
    # Whatever comes next was done already.
    monkeypatch.setattr(Future, "result", lambda future, timeout=None: Recorded.begun.index(future))


@pytest.mark.usefixtures("_recorded")
@pytest.mark.parametrize("processes", [2, 3])
def test_no_more_is_begun_than_is_soon_taken(processes: int, embedder: Embedder) -> None:
    found = workers.embed_in_processes(embedder, ["x"] * 100, processes=processes)
    for num in range(50):
        assert next(found) == num
        assert len(Recorded.begun) == min(50, num + 2 * processes)
    assert list(found) == []


@pytest.mark.usefixtures("_recorded")
def test_who_stops_reading_stops_the_work(embedder: Embedder) -> None:
    found = workers.embed_in_processes(embedder, ["x"] * 100, processes=2)
    next(found)
    found.close()
    assert [future.cancelled() for future in Recorded.begun] == [False, True, True, True]


@pytest.mark.slow
def test_a_killed_process_is_one_message(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_start", killed)
    with pytest.raises(DataError, match="processes=2: one of them died"):
        list(workers.embed_in_processes(embedder, TEXTS, processes=2))


def test_a_pool_that_closes_its_pipes_while_it_starts_a_process_is_one_message(
    embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def submit(*_: Any, **__: Any) -> None:
        raise ValueError("bad value(s) in fds_to_keep")

    monkeypatch.setattr(workers.ProcessPoolExecutor, "submit", submit)
    with pytest.raises(DataError, match="processes=2: one of them died"):
        list(workers.embed_in_processes(embedder, TEXTS, processes=2))
