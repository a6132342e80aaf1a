"""Written pages as a reader's browser takes them apart."""

from __future__ import annotations

from html.parser import HTMLParser

FORBIDDEN = {"script", "link", "img", "iframe", "object", "embed", "form", "base"}


class Elements(HTMLParser):
    """Collects the elements and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def elements(text: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Elements()
    parser.feed(text)
    return parser.found


def assert_harmless(page: str) -> None:
    """The page runs nothing, loads nothing, and holds no control characters."""
    found = elements(page)
    assert {tag for tag, _ in found}.isdisjoint(FORBIDDEN)
    policy = [attributes.get("content") for tag, attributes in found if tag == "meta"][1]
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")
    for tag, attributes in found:
        for name, value in attributes.items():
            assert not name.startswith("on"), tag
            if name in ("href", "xlink:href", "src"):
                assert value is not None
                assert value.startswith("#"), tag
    assert not {"\x1b", "\u202e", "\x00"} & set(page)
