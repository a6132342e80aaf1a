from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from candelabra.metrics.correlation import correlations, ranks


@pytest.mark.parametrize("num_values", [1000, 7])
def test_equals_scipy_also_with_ties(num_values: int) -> None:
    torch.manual_seed(0)
    right = torch.randint(0, num_values, (200,)).float()
    found = (right + torch.randn(200)).round(decimals=1)
    expected = stats.spearmanr(found, right).statistic, stats.pearsonr(found, right).statistic
    assert [float(each) for each in correlations(found, right)] == pytest.approx(expected)


def test_ranks_of_very_many_equal_values() -> None:
    """Their sum is beyond 32 bits."""
    values = torch.zeros(100_001)
    values[-1] = 1
    assert ranks(values).unique().tolist() == [50_000.5, 100_001]


def test_ranks_equal_scipys() -> None:
    values = torch.randint(0, 9, (50,), generator=torch.Generator().manual_seed(0))
    assert np.array_equal(ranks(values), stats.rankdata(values))


def test_nothing_correlates_with_nothing() -> None:
    assert correlations(torch.empty(0), torch.empty(0)) == (0, 0)
