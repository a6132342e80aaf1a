"""The bundled sample: the same everywhere, well formed, and unseen where it scores."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from itertools import combinations

import pytest
from seqeval.metrics import f1_score
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from candelabra.data import sample
from candelabra.data.sample.grammar import load

SPLITS = tuple(sample.SIZES)
PAIRS = tuple(combinations(SPLITS, 2))
TYPES = [
    "Actor", "Award", "Character_Name", "Director", "Genre", "Opinion",
    "Origin", "Plot", "Quote", "Relationship", "Soundtrack", "Year",
]  # fmt: skip
TAGS = {"O"} | {f"{edge}-{kind}" for edge in "BI" for kind in TYPES}
# Changes with every edit of the phrases: then the baselines below and README's scores change too.
DIGEST = "e5aa136061627bd2cfe1a4148f084c330456f67054186ed932a7a86c1caa3e38"
DIGEST_CODE = """
import hashlib, json
from candelabra.data import sample
rows = [[sample.reviews(split), sample.questions(split)] for split in sample.SIZES]
print(hashlib.sha256(json.dumps(rows).encode()).hexdigest())
"""


def digest() -> str:
    rows = [[sample.reviews(split), sample.questions(split)] for split in SPLITS]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def spans(split: str) -> dict[str, list[str]]:
    """The texts of each type's entities, in order."""
    found: dict[str, list[str]] = defaultdict(list)
    rows = sample.questions(split)
    for tokens, tags in zip(rows["tokens"], rows["tags"], strict=True):
        for token, tag in zip(tokens, tags, strict=True):
            if tag.startswith("B-"):
                found[tag[2:]].append(token)
            elif tag != "O":
                found[tag[2:]][-1] += f" {token}"
    return found


def open_phrases(pools: dict[str, list[str]]) -> set[str]:
    """The phrases of `pools` that have words of their own beside slots."""
    phrases = {phrase.lower() for pool in pools.values() for phrase in pool}
    return {phrase for phrase in phrases if re.sub(r"\{\w+\}", "", phrase).strip()}


def test_rows_are_the_same_on_every_call_and_machine() -> None:
    assert digest() == digest() == DIGEST


@pytest.mark.parametrize("hash_seed", ["0", "4711"])
def test_rows_do_not_depend_on_the_hash_seed(hash_seed: str) -> None:
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": paths}
    command = [sys.executable, "-c", DIGEST_CODE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == DIGEST


def test_callers_cannot_change_each_others_rows() -> None:
    sample.questions("validation")["tags"][0][0] = "changed"
    sample.reviews("validation")["text"].clear()
    assert digest() == DIGEST


def test_unknown_split_is_refused() -> None:
    for rows in (sample.reviews, sample.questions):
        with pytest.raises(ValueError, match=r"split must be one of train, .*; found 'dev'"):
            rows("dev")


@pytest.mark.parametrize("split", SPLITS)
def test_reviews_are_well_formed_balanced_and_distinct(split: str) -> None:
    rows = sample.reviews(split)
    assert len(rows["text"]) == len(rows["label"]) == sample.SIZES[split]
    assert len(set(rows["text"])) == len(rows["text"])
    assert set(rows["label"]) == {"NEGATIVE", "POSITIVE"}
    assert 0.45 <= rows["label"].count("POSITIVE") / len(rows["label"]) <= 0.55
    for text in rows["text"]:
        assert re.fullmatch(r"[!-~]+( [!-~]+)*", text)
        assert 15 <= len(text.split()) <= 60
        assert not re.search(r"[{}]", text)
        assert not re.search(r"(?:^|[.?!] )[a-z]", text)


@pytest.mark.parametrize("split", SPLITS)
def test_questions_are_well_formed_and_distinct(split: str) -> None:
    rows = sample.questions(split)
    assert len(rows["tokens"]) == len(rows["tags"]) == sample.SIZES[split]
    assert len(set(map(tuple, rows["tokens"]))) == len(rows["tokens"])
    for tokens, tags in zip(rows["tokens"], rows["tags"], strict=True):
        assert len(tokens) == len(tags)
        assert 6 <= len(tokens) <= 25
        assert all(re.fullmatch(r"[a-z0-9]+", token) for token in tokens)


@pytest.mark.parametrize("split", SPLITS)
def test_tags_are_valid_bio_and_all_occur(split: str) -> None:
    rows = sample.questions(split)["tags"]
    counts = Counter(tag for tags in rows for tag in tags)
    assert set(counts) == TAGS
    assert min(counts.values()) >= 10
    for tags in rows:
        for before, tag in zip(["O", *tags], tags, strict=False):
            assert not tag.startswith("I-") or before[2:] == tag[2:]


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_splits_share_no_row(one: str, other: str) -> None:
    assert not set(sample.reviews(one)["text"]) & set(sample.reviews(other)["text"])
    questions = [set(map(tuple, sample.questions(split)["tokens"])) for split in (one, other)]
    assert not questions[0] & questions[1]


@pytest.mark.parametrize(("one", "other"), PAIRS)
@pytest.mark.parametrize("kind", ["world", "reviews", "questions"])
def test_splits_share_no_phrase_template_or_name(kind: str, one: str, other: str) -> None:
    assert not open_phrases(load(f"{kind}_{one}")) & open_phrases(load(f"{kind}_{other}"))


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_splits_share_no_entity_but_years_and_genres(one: str, other: str) -> None:
    here, there = spans(one), spans(other)
    for kind in set(TYPES) - {"Year", "Genre"}:
        assert not set(here[kind]) & set(there[kind])


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_splits_share_no_part_of_a_persons_name(one: str, other: str) -> None:
    names = [" ".join(spans(split)["Actor"] + spans(split)["Director"]) for split in (one, other)]
    assert not set(names[0].split()) & set(names[1].split())


@pytest.mark.parametrize("split", SPLITS)
def test_names_and_years_change_their_type_with_the_context(split: str) -> None:
    found = spans(split)
    people = {kind: {word for text in found[kind] for word in text.split()} for kind in found}
    assert len(people["Actor"] & people["Director"] & people["Character_Name"]) >= 10
    years = {kind for kind in TYPES for text in found[kind] if re.search(r"\b\d{4}\b", text)}
    assert {"Year", "Relationship", "Soundtrack", "Quote"} <= years


def test_a_bag_of_words_beats_chance_on_reviews_and_is_far_from_perfect() -> None:
    train, test = sample.reviews("train"), sample.reviews("test")
    words = TfidfVectorizer(ngram_range=(1, 2))
    model = LogisticRegression(max_iter=1000)
    model.fit(words.fit_transform(train["text"]), train["label"])
    accuracy = model.score(words.transform(test["text"]), test["label"])
    assert 0.70 <= accuracy <= 0.92


def test_looking_up_each_words_tag_does_not_solve_the_questions() -> None:
    train, test = sample.questions("train"), sample.questions("test")
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for tokens, tags in zip(train["tokens"], train["tags"], strict=True):
        for token, tag in zip(tokens, tags, strict=True):
            seen[token][tag] += 1
    usual = {token: counts.most_common(1)[0][0] for token, counts in seen.items()}
    guesses = [[usual.get(token, "O") for token in tokens] for tokens in test["tokens"]]
    assert f1_score(test["tags"], guesses) < 0.5


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from candelabra.data import sample; sample.reviews('test');"
        "print(sorted({'torch', 'transformers', 'numpy', 'pandas'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("split", SPLITS)
def test_mentions_tell_of_the_questions(split: str) -> None:
    rows, questions = sample.mentions(split), sample.questions(split)
    assert rows["text"] == [" ".join(tokens) for tokens in questions["tokens"]]
    for labels, number, tags in zip(rows["labels"], rows["number"], questions["tags"], strict=True):
        assert labels == sorted({tag[2:] for tag in tags if tag != "O"})
        assert number == sum(tag.startswith("B-") for tag in tags)
    assert {label for labels in rows["labels"] for label in labels} == set(TYPES)
