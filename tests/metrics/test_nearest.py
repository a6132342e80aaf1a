from __future__ import annotations

import pytest
import torch

from candelabra.metrics import nearest
from candelabra.metrics.nearest import blocks, first_same
from helpers.given_vectors import noisy


@pytest.mark.parametrize(("queries", "vectors"), [(10, 7), (1, 1), (5, 1000), (0, 3), (3, 0)])
def test_blocks_cover_each_query_once(
    queries: int, vectors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "SCORES_AT_A_TIME", 21)
    parts = list(blocks(queries, vectors))
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(queries))
    assert all((part.stop - part.start) * vectors <= max(21, vectors) for part in parts)


@pytest.mark.parametrize("room", [1, 50, 1 << 24])
@pytest.mark.parametrize("spread", [1.0, 1e-3])
def test_the_same_but_for_rounding(
    room: int, spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where an encoder says nearly the same of all texts."""
    monkeypatch.setattr(nearest, "SCORES_AT_A_TIME", room)
    origin = torch.tensor([0, 1, 2, 0, 4, 2, 0, 4])
    distinct = 1 + spread * noisy(0, 8, 16)
    vectors = distinct[origin] * (1 + 2e-7 * noisy(1, 8, 16).clamp(-1, 1))
    assert torch.equal(first_same(vectors), origin)


def test_near_is_not_the_same() -> None:
    vectors = noisy(0, 30, 16)
    both = torch.cat([vectors, vectors + 0.05 * noisy(1, 30, 16)])
    assert torch.equal(first_same(both), torch.arange(60))


@pytest.mark.parametrize("vectors", [torch.ones(5, 4), torch.ones(1, 4), torch.empty(0, 4)])
def test_where_nothing_varies_nothing_is_the_same(vectors: torch.Tensor) -> None:
    assert torch.equal(first_same(vectors), torch.arange(len(vectors)))


def test_what_follows_in_a_row_of_equals_has_one_first() -> None:
    step = 0.6 * nearest.SAME**0.5
    vectors = torch.cat([torch.eye(3) * 1.2247, torch.zeros(3, 3)])
    vectors[3:, 0] = vectors[0, 0] + step * torch.arange(1, 4)
    vectors[3:, 1:] = vectors[0, 1:]
    assert first_same(vectors).tolist() == [0, 1, 2, 0, 0, 0]
