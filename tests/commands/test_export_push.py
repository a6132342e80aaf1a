"""`candelabra export push=NAME`, without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from candelabra.exporting.formats import MARK
from helpers.command_line import Run
from helpers.exporting import QUICK, card_of, exported


def test_a_push_sends_the_folder(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    class Api:
        def create_repo(self, repo: str, **settings: Any) -> str:
            asked.append(("create", repo, settings))
            return f"https://hub/{repo}"

        def upload_folder(self, **settings: Any) -> None:
            asked.append(("upload", settings))

    monkeypatch.setattr("huggingface_hub.get_token", lambda: "secret")
    monkeypatch.setattr("huggingface_hub.HfApi", Api)
    done = exported(run, QUICK, "push=me/films")
    assert done.status == 0
    assert done.out.splitlines() == ["exported: out", "pushed: https://hub/me/films"]
    message = "candelabra export: format=sentence_transformers"
    assert asked == [
        ("create", "me/films", {"private": True, "exist_ok": True}),
        (
            "upload",
            {"repo_id": "me/films", "folder_path": Path("out"), "commit_message": message},
        ),
    ]
    assert 'SentenceTransformer("me/films")' in card_of(tmp_path / "out")[1]


def test_a_dry_run_touches_no_network(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    monkeypatch.setattr("huggingface_hub.HfApi", None)
    done = exported(run, QUICK, "push=me/films", "dry_run=true", "private=false")
    assert done.status == 0
    assert "repository: me/films (public if it is new)" in done.out


def test_no_network_is_one_error(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_none")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    done = exported(run, QUICK, "push=me/films")
    assert done.status == 2
    last = done.err.splitlines()[-1]
    assert last.startswith(
        "candelabra: error: push=me/films: failed; the export in out is complete ("
    )
    assert (tmp_path / "out" / MARK).is_file()
