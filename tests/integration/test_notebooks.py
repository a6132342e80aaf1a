from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
PICTURES = {
    "contrastive_losses.ipynb": 1,
    "distillation.ipynb": 1,
    "search.ipynb": 2,
    "similarity_and_pooling.ipynb": 3,
}
SAID = {
    "contrastive_losses.ipynb": ["test: difference to minilm", "average_precision"],
    "distillation.ipynb": ["layers [3, 6] of 6", "texts a second", "movie: taught - labels"],
    "quickstart.ipynb": ["'label': 'POSITIVE'", "thriller"],
    "search.ipynb": ["400 reviews, vectors of 384 numbers", "the same hits: True"],
    "similarity_and_pooling.ipynb": ["'mean': 0.65"],
}


def executed(path: Path, folder: Path) -> list[nbformat.NotebookNode]:
    """The outputs of all cells; the client raises where a cell does."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=1200, resources={"metadata": {"path": str(folder)}})
    return [output for cell in client.execute().cells for output in cell.get("outputs", [])]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_runs_from_top_to_bottom(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANDELABRA_OVERRIDES", "debug=fast logger=csv")
    monkeypatch.setenv("CANDELABRA_ENCODER", "tiny")
    outputs = executed(path, tmp_path)
    assert not [output for output in outputs if output.output_type == "error"]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == PICTURES.get(path.name, 0)
    if path.name == "quickstart.ipynb":
        assert len(list(tmp_path.glob("outputs/notebook/*/bundle/config.json"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_answers_as_a_reader_sees_them(path: Path, tmp_path: Path) -> None:
    said = "\n".join(
        output.get("text", output.get("data", {}).get("text/plain", ""))
        for output in executed(path, tmp_path)
    )
    for words in SAID[path.name]:
        assert words in said, said


def test_there_is_one() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_is_committed_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert not [cell for cell in notebook.cells if cell.get("outputs")]
