"""Random settings of each command, which must be accepted or refused with one message."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from candelabra.build.encoder_folder import take_folder_settings
from candelabra.commands import (
    arguments,
    compare,
    embed,
    evaluate,
    export,
    mine,
    predict,
    report,
    search,
    similarity,
    train,
)
from candelabra.config.interpolations import check_interpolations
from candelabra.config.option_words import check_option_words
from candelabra.config.schema import register
from candelabra.config.targets import conf_dir
from candelabra.run.start import check_settings
from helpers.command_line import Done, called
from helpers.composing import composed

VALUES = (
    *("null", "true", "false", "None", "''", "' '", "x", "val/scor", "'1_000'", "\\$"),
    *("0", "-1", "1", "2", "0.5", "-0.5", "1.5", "1e308", "1e-320", "inf", "-inf", "nan"),
    *("99999999999999999999", "-99999999999999999999", "2147483648", "9" * 5000),
    *("[]", "[null]", "[1,2]", "[a,b]", "[[]]", "['']", "[-1]", "[nan]", "[{}]", "[[[[1]]]]"),
    *("{}", "{a:1}", "{a:{b:[]}}", "{0:x}", "{null:1}", "{train:1}", "{'':null}", "{a:null}"),
    *("x" * 10_000, "'\x1b[2J'", "'a\x00b'", "'\u202e\u0663'", "/", "../..", "'%s{}'"),
    *("{_target_:os.system}", "{_target_:null}", "{_target_:[]}", "[{_target_:x}]", "???"),
)
INTERPOLATIONS = (
    *("${nothing.there}", "${.}", "${..}", "${KEY}", "[${KEY}]", "{a:${KEY}}", "x${KEY}"),
    *("${oc.env:NO_SUCH_VARIABLE}", "${oc.env:}", "${oc.env}", "${no_such_resolver:1}"),
    *("${oc.decode:'{'}", "${oc.select:nothing}", "${oc.create:[]}", "'${'", "${batch_size}"),
    *("${encoder}", "${oc.dict.keys:KEY}", "${oc.deprecated:x}", "${oc.decode:[1}", "${run_id:}"),
)
OF_GROUPS = (
    *("null", "true", "0", "-1", "1.5", "nan", "[]", "[null]", "[1,2]", "[[]]", "{}", "{a:1}"),
    *("''", "no_such_option", "x/../y", "/etc/passwd", "..", "'\x1b[2J'", "x" * 5000, "9" * 5000),
    *("${nothing}", "${encoder}", "'${oc.env:HOME}'", "???", "None", "a b", "minilm/", "base"),
)
"""What no group has as an option."""
SECONDS = 60
"""A case that takes longer counts as a hang."""


GROUPS = [path.name for path in conf_dir().iterdir() if path.is_dir()]


class Accepted(Exception):  # noqa: N818 (no error)
    """A command has accepted its settings, and would now read its data."""


def accept(*_: object, **__: object) -> None:
    raise Accepted


@dataclass(frozen=True)
class Case:
    """A command, its options, and the changes of its settings."""

    command: str
    options: tuple[str, ...] = ()
    verbatim: tuple[str, ...] = ()
    keys: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)

    @property
    def words(self) -> list[str]:
        return [*self.verbatim, *self.options, *self.changes]


COMMANDS: dict[str, tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]] = {
    "train": (
        (),
        (
            (),
            ("adapter=lora", "freeze=lower_layers", "freeze.num_layers=1", "weighting=famo"),
            ("balancing=annealed", "scheduler=slanted_triangular", "trainer=ddp_cpu"),
            ("tasks=nli_ranking", "data_dir=.", "pooling=cls", "freeze=gradual"),
            ("encoder=tiny", "logger=csv", "callbacks=ema", "debug=fast"),
        ),
    ),
    "evaluate": ((), (("encoder=tiny", "tasks=sample"),)),
    "compare": (("models=[tiny,minilm]",), (("tasks=sample",),)),
    "predict": (("bundle=nowhere", "text=x"), ((),)),
    "embed": (("input=nowhere.txt",), ((), ("encoder=tiny", "pooling=modules"))),
    "similarity": (("input=nowhere.txt",), ((),)),
    "search": (("corpus=nowhere.txt", "text=x"), ((),)),
    "mine": (("input=nowhere.csv", "output=it.jsonl"), ((), ("negatives=easy",))),
    "report": (("nowhere",), ((),)),
    "export": (("bundle=nowhere", "output=new"), (("format=onnx",), ("format=transformers",))),
}
"""Verbatim words of each command, and choices of options."""


def cases(seed: object, number: int, commands: Sequence[str] = tuple(COMMANDS)) -> Iterator[Case]:
    """Yield random cases, in which one setting of a command is changed."""
    random = Random(str(seed))
    for _ in range(number):
        command = random.choice([*commands, *["train"] * ("train" in commands) * 4])
        verbatim, choices = COMMANDS[command]
        case = Case(command, random.choice(choices), verbatim)
        key = random.choice(keys_of(command, case.options))
        value = random.choice(random.choice((VALUES, VALUES, INTERPOLATIONS)))
        sign = random.choice(("", "", "", "", "++"))
        match random.randrange(20):
            case 0:
                change = f"~{key}"
            case 1:
                key = f"{key}.{random.choice(('new', 'name', '_target_', '0'))}"
                change = f"++{key}={value}"
            case _:
                change = f"{sign}{key}={value.replace('KEY', key)}"
        case.keys.append(key)
        case.changes.append(change)
        yield case


def group_cases(seed: object, number: int) -> Iterator[Case]:
    """Yield random cases, in which the option of a group is none."""
    random = Random(f"groups {seed}")
    for _ in range(number):
        command = random.choice(
            [name for name in COMMANDS if name not in ("predict", "report", "export")]
        )
        groups = ["encoder", "pooling"]
        if command == "train":
            groups = sorted(path.name for path in conf_dir().iterdir() if path.is_dir())
        group = random.choice(groups)
        place = {
            "task": "task@tasks.sentiment",
            "head": "head@tasks.sentiment.head",
            "loss": "loss@tasks.sentiment.loss",
        }.get(group, group)
        change = f"{random.choice(('', '+', '++'))}{place}={random.choice(OF_GROUPS)}"
        yield Case(command, (), COMMANDS[command][0], [group], [change])


@cache
def base(command: str, options: tuple[str, ...]) -> DictConfig:
    """Return the configuration of a command before its changes."""
    if command == "train":
        return composed(list(options), Path("nowhere"))
    register()
    with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
        return compose(command, overrides=list(options))


@cache
def keys_of(command: str, options: tuple[str, ...]) -> list[str]:
    """Return the dotted key of every value of a configuration, and of every mapping."""
    container = OmegaConf.to_container(base(command, options), resolve=False)
    return list(_keys(container, ""))


def _keys(node: Any, prefix: str) -> Iterator[str]:
    for name, value in node.items():
        yield f"{prefix}{name}"
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{name}.")


def changed(case: Case) -> DictConfig:
    """Return the configuration of a case, as Hydra composes it.

    Composing takes a second, therefore Hydra's own code changes what was composed once.
    """
    cfg = deepcopy(base(case.command, case.options))
    OmegaConf.set_struct(cfg, True)
    parsed = OverridesParser.create().parse_overrides(overrides=case.changes)
    ConfigLoaderImpl._apply_overrides_to_config(parsed, cfg)
    return cfg


def quick_compose(case: Case) -> Callable[..., DictConfig]:
    """Return a function in the place of `commands.arguments.compose`."""

    def composed_quickly(command: str, overrides: Sequence[str]) -> DictConfig:
        check_option_words(overrides)
        if any("." not in key and key in GROUPS for key in case.keys):
            # A group is chosen by composing.
            register()
            with initialize_config_dir(config_dir=str(conf_dir()), version_base="1.3"):
                cfg = compose(command, overrides=list(overrides))
        else:
            options = tuple(word for word in overrides if word not in case.changes)
            words = [word for word in overrides if word in case.changes]
            cfg = changed(Case(command, options, changes=words))
        check_interpolations(cfg)
        OmegaConf.resolve(cfg)
        return cfg

    return composed_quickly


def quick_train(case: Case) -> Callable[..., int]:
    """Return a function in the place of `commands.train.start_run`."""

    def start(overrides: list[str], command: str = "train") -> int:
        check_option_words(overrides)
        is_group = any("." not in key and key in GROUPS for key in case.keys)
        cfg = composed(case.words, Path("nowhere")) if is_group else changed(case)
        check_interpolations(cfg)
        take_folder_settings(cfg, overrides)
        check_settings(cfg)
        raise Accepted

    return start


STUBS = (
    *((module, "read_texts") for module in (embed, similarity, search)),
    *((module, "checked_folder") for module in (predict, export)),
    (mine.pair_files, "read_pairs"),
    (evaluate, "checked_output"),
    (compare, "compare"),
    (report, "kind_of"),
)
"""Where a command has checked its settings."""


def answer(case: Case) -> Done | None:
    """Return what a command says to its settings, or None if it accepts them."""
    with pytest.MonkeyPatch.context() as patch, _no_hang(case):
        for module, name in STUBS:
            patch.setattr(module, name, accept)
        for module in (arguments, compare, similarity):
            patch.setattr(module, "compose", quick_compose(case))
        patch.setattr(train, "start_run", quick_train(case))
        try:
            return called(case.command, *case.words)
        except Accepted:
            return None


@contextmanager
def _no_hang(case: Case) -> Iterator[None]:
    def hang(*_: object) -> None:
        raise AssertionError(f"{case}: took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fault(case: Case) -> str | None:
    """Return what is wrong with the answer to a case, or None."""
    try:
        done = answer(case)
    except Exception as error:  # noqa: BLE001 (whatever it is, it is a fault)
        return f"{type(error).__name__}: {str(error)[:300]}"
    if done is None:
        return None
    lines = done.err.splitlines()
    if done.status != 2 or len(lines) != 1 or done.out:
        return f"status {done.status}, {len(lines)} lines: {done.err[:300]}"
    if not any(_names(done.message, key) for key in case.keys):
        return f"does not name the key: {done.message[:300]}"
    return None


def _names(message: str, key: str) -> bool:
    """Return whether a message names a key, or the setting that it belongs to."""
    parts = key.split(".")
    deeper = (".".join(parts[:depth]) for depth in range(len(parts), max(0, len(parts) - 2), -1))
    of_task = parts[0] == "tasks" and len(parts) > 1 and f"task {parts[1]!r}" in message
    of_path = key == "data_dir" or ".source." in key
    if of_path and re.search("missing file|no such folder", message):
        return True  # The message names the path.
    return any(name in message for name in deeper) or (of_task and parts[-1] in message)
