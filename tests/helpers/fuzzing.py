"""Mutations of files and values for fuzzers, and what no mutation may cause."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from random import Random
from typing import Any

from candelabra.errors import UserError

NASTY = (
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\r",
    b"\n\n",
    b'"',
    b"'",
    b"\t",
    b",",
    b"\\",
    b"[" * 3000,
    b'{"a":' * 3000,
    b"[" * 900 + b"]" * 900,
    b'{"a":' * 900 + b"1" + b"}" * 900,
    b"1" * 5000,
    b"1e999",
    b"-NaN",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"\\u0000",
    b"\x1b[2J",
    "\u202e\u2028\u0663".encode(),
    b"null",
    b"true",
    b"B-",
    b" ",
    b"x" * 200_000,
)
SECONDS = 60
"""A case that takes longer counts as a hang."""


def mutated(content: bytes, random: Random) -> bytes:
    """Return the content of a file with one to three changes."""
    for _ in range(random.randint(1, 3)):
        begin = random.randrange(len(content) + 1)
        end = min(len(content), begin + random.choice((0, 1, 2, 8, 64)))
        match random.randrange(6):
            case 0:
                content = content[:begin] + random.choice(NASTY) + content[begin:]
            case 1:
                content = content[:begin] + random.choice(NASTY) + content[end:]
            case 2:
                content = content[:begin] + content[end:]
            case 3:
                content = content[:end] + content[begin:]
            case 4 if begin < len(content):
                flipped = content[begin] ^ 1 << random.randrange(8)
                content = content[:begin] + bytes([flipped]) + content[begin + 1 :]
            case _:
                content = content[:begin] if random.random() < 0.2 else content
    return content


def one_bit(content: bytes, random: Random) -> bytes:
    """Return the content of a file with one bit changed."""
    place = random.randrange(len(content))
    flipped = content[place] ^ 1 << random.randrange(8)
    return content[:place] + bytes([flipped]) + content[place + 1 :]


@contextmanager
def one_message_or_none(case: object) -> Iterator[list[str]]:
    """Fail on any other exception than a message for people, and on a hang.

    Yields:
        A list that gets the message, if there is one.
    """
    messages: list[str] = []

    def hang(*_: object) -> None:
        raise AssertionError(f"{case}: took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(SECONDS)
    try:
        yield messages
    except UserError as error:
        messages.append(str(error))
    except Exception as error:
        raise AssertionError(f"{case}: {type(error).__name__}: {error}") from error
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 512, 10**9, 10**30, 0.5, -1.0, 1e999, -1e999),
    *("", " ", "x", "\x1b[2J", "\x00", "${oc.env:HOME}", "../..", "/", "os.system", "x" * 10_000),
    *([], {}, [1], ["a", "a"], [[]], {"a": 1}, {"_target_": "os.system"}, [{"_target_": 1}]),
]


def changed_json(value: Any, random: Random) -> tuple[Any, str]:
    """Return a copy of a JSON value with one value, key or item changed, and what was changed."""
    value = deepcopy(value)
    places = list(_places(value, ()))
    holder, key, path = random.choice(places)
    match random.randrange(6):
        case 0:
            del holder[key]
            return value, f"without {path}"
        case 1 if isinstance(holder, dict):
            new = random.choice(["", "x", "../x", "auto_map", "_target_", "\x1b", "${x}"])
            holder[new] = holder.pop(key)
            return value, f"{path} named {new!r}"
        case _:
            holder[key] = new = deepcopy(random.choice(VALUES))
            return value, f"{path}: {str(new)[:60]!r}"


def _places(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, Any, tuple[Any, ...]]]:
    """Yield the holder and key of each value; of long lists and vocabularies the first ones."""
    items = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    for key, inner in items[:30]:
        yield value, key, (*path, key)
        if isinstance(inner, (dict, list)):
            yield from _places(inner, (*path, key))
