"""Seeded, stratified draws from a split, without overlap."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from random import Random

from candelabra.data.bio import parse_tag
from candelabra.records import IGNORED, Examples


def carve(strata: Sequence[Hashable], size: int, seed: int) -> tuple[list[int], list[int]]:
    """Draw `size` rows so that each stratum keeps its proportion.

    From each stratum its exact share is drawn, rounded down. The strata with the largest remainders
    give one more row each. A stratum may be as small as one row.

    Args:
        strata: Stratum of each row.
        size: Number of rows to draw.
        seed: Seed. The same seed and strata give the same rows on any machine and Python version.

    Returns:
        The remaining rows and the drawn rows. Both are sorted; together they are all rows.

    Raises:
        ValueError: If `size` is negative or larger than the number of rows.
    """
    if not 0 <= size <= len(strata):
        raise ValueError(f"size must be 0 to {len(strata)} (the rows there are), found {size}")
    random = Random(seed)
    # Only random() is guaranteed to give the same numbers in every Python version.
    keys = [random.random() for _ in strata]
    members: dict[Hashable, list[int]] = defaultdict(list)
    for row in sorted(range(len(strata)), key=keys.__getitem__):
        members[strata[row]].append(row)
    quotas = _quotas([len(rows) for rows in members.values()], size)
    drawn = {row for rows, n in zip(members.values(), quotas, strict=True) for row in rows[:n]}
    rest = [row for row in range(len(strata)) if row not in drawn]
    return rest, sorted(drawn)


def _quotas(sizes: Sequence[int], total: int) -> list[int]:
    """Split `total` by the largest-remainder method; ties go to the first."""
    num_rows = max(1, sum(sizes))
    quotas = [size * total // num_rows for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda i: -(sizes[i] * total % num_rows))
    for i in by_remainder[: total - sum(quotas)]:
        quotas[i] += 1
    return quotas


def strata_of(examples: Examples, labels: Sequence[str]) -> list[str]:
    """Return the stratum of each row.

    The stratum is the name of the label. Of several labels, or of the entity types of tags, it is
    the one that the fewest rows have, so that rare ones are represented; `O` means a row with none.
    Rows whose target is a number are one stratum.

    Args:
        examples: Examples of the split.
        labels: Names of the labels or tags.
    """
    rows = examples.labels
    if not rows or not isinstance(rows[0], list):
        name_of = {**dict(enumerate(labels)), IGNORED: ""}
        return ["" if isinstance(label, float) else name_of[label] for label in rows]
    if examples.words is None:
        kinds = [{labels[i] for i, holds in enumerate(row) if holds == 1} for row in rows]
    else:
        type_of = {**{i: parse_tag(label)[1] for i, label in enumerate(labels)}, IGNORED: ""}
        kinds = [{type_of[tag] for tag in set(tags)} - {""} for tags in rows]
    num_rows = Counter(kind for row in kinds for kind in row)
    return [min(row, key=lambda kind: (num_rows[kind], kind), default="O") for row in kinds]
