"""Damaged caches of tokens: made again, never taken for what they are not."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from candelabra.data.token_cache import tokenize_cached
from candelabra.data.tokens import TextTokenizer, TokenizedTexts
from helpers.fuzzing import mutated, one_bit, one_message_or_none
from helpers.toys import same_tokens, sentences, tagged

EXAMPLES = [
    sentences([f"a film of {year}" for year in range(1990, 2000)], [0, 1] * 5),
    tagged([(["a", "film"], [1, 1]), (["so"], [1])]),
]


def fuzz(folder: Path, tokenizer: TextTokenizer, cases: int) -> None:
    random = Random(cases)

    def tokens(kind: int) -> TokenizedTexts:
        (found,) = tokenize_cached(
            EXAMPLES[kind], tokenizer, fingerprint=str(kind), cache_dir=folder / str(kind)
        )
        return found

    right = [tokens(kind) for kind in range(len(EXAMPLES))]
    for case in range(cases):
        kind = case % len(EXAMPLES)
        (file,) = (folder / str(kind)).iterdir()
        good = file.read_bytes()
        change = one_bit if case % 3 else mutated
        file.write_bytes(change(good, random))
        with one_message_or_none(case) as messages:
            assert same_tokens(tokens(kind), right[kind])
        assert messages == []
        assert file.read_bytes() == good or same_tokens(tokens(kind), right[kind])


def test_a_damaged_cache_of_tokens(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    fuzz(tmp_path, tokenizer, 40)


@pytest.mark.slow
def test_many_damaged_caches_of_tokens(tmp_path: Path, tokenizer: TextTokenizer) -> None:
    fuzz(tmp_path, tokenizer, 500)
