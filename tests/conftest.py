"""Fixtures that several test files share. Nothing heavy is imported until one is asked for."""

from __future__ import annotations

import functools
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from candelabra.data.tokens import TextTokenizer
    from candelabra.model.multitask import MultiTaskModel
    from helpers.toys import Splits

# A busy machine is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def tokenizer() -> TextTokenizer:
    """The bundled tokenizer, with room for 32 tokens."""
    from candelabra.model.backbones import Tiny

    return Tiny(max_length=32).tokenizer()


@pytest.fixture(scope="session")
def toys(tokenizer: TextTokenizer) -> Splits:
    """`mood`, a classification of 40 texts a split, and `who`, a tagging of 24."""
    from helpers.toys import toy_splits

    return toy_splits(tokenizer)


@pytest.fixture
def model() -> MultiTaskModel:
    """A tiny model with a head for each toy task, without dropout."""
    from helpers.toys import toy_model

    return toy_model()


@pytest.fixture(scope="session")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working folder of a run that was trained, and failed before it was tested."""
    from helpers.interrupted_runs import interrupted_run

    yield from interrupted_run(tmp_path_factory.mktemp("interrupted"))


@pytest.fixture
def run(interrupted: Path) -> Iterator[Path]:
    """Its run folder; whatever a test does to it is undone."""
    from helpers.interrupted_runs import restored_run

    yield from restored_run(interrupted)


@pytest.fixture(autouse=True, scope="session")
def _sample_is_generated_once() -> Iterator[None]:
    """Generate the rows of the sample once, although hundreds of tests train on them."""
    from candelabra.data.sources import Sample

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sample, "read", functools.cache(Sample.read))
        yield


@pytest.fixture(autouse=True, scope="session")
def _signals_are_not_ignored() -> None:
    """Let the tests find signals as in a terminal: `nohup` ignores SIGHUP, and `&` SIGINT."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
