"""Search index on disk: the texts of a corpus, their vectors, and the model that computed them.

The folder contains `index.json` (settings and checksums), `vectors.safetensors`, `texts.parquet`,
and, for approximate search, `graph.faiss`. Loading it executes no code from the folder.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from candelabra.bundle.folder import read_json
from candelabra.data.files.layout import Layout
from candelabra.data.files.parquet import read_parquet
from candelabra.errors import DataError
from candelabra.files import (
    check_place,
    checksum,
    clear_folder_drafts,
    drafted,
    replacing,
    write_json,
)
from candelabra.search.approximate import read_graph, write_graph
from candelabra.version import __version__

if TYPE_CHECKING:
    import numpy as np

    from candelabra.search.exact import Corpus

FORMAT = 1
ABOUT, VECTORS, TEXTS, GRAPH = "index.json", "vectors.safetensors", "texts.parquet", "graph.faiss"


def check_new(folder: Path) -> None:
    """Raise an error if an index cannot be written to the folder.

    Raises:
        DataError: The folder exists and is not empty, or it cannot be created.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(f"save_index={folder}: already exists; name a new folder, or delete it")
    check_place(folder, key="save_index")


def save_index(folder: Path, corpus: Corpus, *, origin: Mapping[str, Any], source: str) -> None:
    """Write an index atomically.

    Args:
        folder: Folder to create.
        corpus: Texts and vectors, and optionally a graph.
        origin: Model and settings that computed the vectors, from `origin.origin_of`.
        source: Name of the file with the texts.

    Raises:
        DataError: The folder exists and is not empty, or it cannot be written.
        ValueError: The corpus has no vectors.
    """
    check_new(folder)
    if corpus.vectors_ND is None:
        raise ValueError("a corpus that was loaded from a graph has no vectors to save")
    folder = folder.absolute()
    try:
        clear_folder_drafts(folder.parent, [glob.escape(folder.name)])
        with drafted(folder) as draft:
            draft.mkdir()
            _write_vectors(draft / VECTORS, corpus.vectors_ND)
            _write_texts(draft / TEXTS, corpus.texts)
            if corpus.graph is not None:
                write_graph(draft / GRAPH, corpus.graph)
            about = {
                "format": FORMAT,
                "candelabra": __version__,
                "source": source,
                "texts": len(corpus.texts),
                "width": corpus.vectors_ND.shape[1],
                "origin": dict(origin),
                "sha256": {file.name: checksum(file) for file in sorted(draft.iterdir())},
            }
            write_json(draft / ABOUT, about)
            check_new(folder)  # Another process may have written it meanwhile.
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"save_index={folder}: cannot be written: {reason}") from error


def _write_vectors(file: Path, vectors_ND: np.ndarray) -> None:
    import numpy as np
    from safetensors.numpy import save

    with replacing(file) as stream:
        stream.write(save({"vectors": np.ascontiguousarray(vectors_ND, dtype=np.float32)}))


def _write_texts(file: Path, texts: Sequence[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with replacing(file) as stream:
        pq.write_table(pa.table({"text": pa.array(texts, pa.large_string())}), stream)


def read_about(folder: Path) -> dict[str, Any]:
    """Read `index.json`, and check that the files of the index exist.

    Raises:
        DataError: The folder is not an index, a file is missing, or a value has the wrong type.
    """
    if not folder.is_dir():
        raise DataError(f"index={folder}: no such folder")
    if not (folder / ABOUT).is_file():
        raise DataError(f"index={folder}: not an index, it has no file {ABOUT}")
    about = read_json(folder / ABOUT)
    if about.get("format") != FORMAT:
        found = about.get("format")
        raise DataError(f"{folder / ABOUT}: format must be {FORMAT}, found {found!r}")
    kinds = {"texts": int, "width": int, "origin": dict, "sha256": dict}
    for key, kind in kinds.items():
        if type(about.get(key)) is not kind:
            raise DataError(f"{folder / ABOUT}: {key} must be of type {kind.__name__}")
    for name in (VECTORS, TEXTS, *({GRAPH} & about["sha256"].keys())):
        if not (folder / name).is_file() or (folder / name).is_symlink():
            raise DataError(f"index={folder}: not an index, it has no file {name}")
    return about


def load_index(
    folder: Path, *, approximate: bool = False, about: Mapping[str, Any] | None = None
) -> Corpus:
    """Load an index written by `save_index`.

    Args:
        folder: Folder of the index.
        approximate: Whether to load the graph (which contains the vectors) instead of the vectors.
        about: Result of `read_about`, or `None` to read it.

    Raises:
        DataError: A file is missing, damaged or inconsistent with the others, or `approximate` is
            set and there is no graph.
    """
    from candelabra.search.exact import Corpus

    about = read_about(folder) if about is None else about
    check_graph(folder, about, approximate)
    for name in (TEXTS, GRAPH if approximate else VECTORS):
        if checksum(folder / name) != about["sha256"].get(name):
            raise DataError(f"{folder / name}: damaged: its checksum differs from that in {ABOUT}")
    shape = (about["texts"], about["width"])
    texts = read_parquet(folder / TEXTS, Layout()).columns.get("text", [])
    if len(texts) != shape[0] or not all(isinstance(text, str) for text in texts):
        raise DataError(f"{folder / TEXTS}: must hold {shape[0]} texts")
    if approximate:
        return Corpus(texts, None, read_graph(folder / GRAPH, shape=shape))
    return Corpus(texts, _read_vectors(folder / VECTORS, shape))


def check_graph(folder: Path, about: Mapping[str, Any], approximate: bool) -> None:
    """Raise an error if an approximate search is requested and the index has no graph.

    Raises:
        DataError: There is no graph.
    """
    if approximate and GRAPH not in about["sha256"]:
        raise DataError(
            f"index={folder}: has no graph; leave out approximate=true, or build a new index with "
            "approximate=true save_index=FOLDER"
        )


def _read_vectors(file: Path, shape: tuple[int, int]) -> np.ndarray:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(file)
    except SafetensorError as error:
        raise DataError(f"{file}: damaged ({error})") from error
    vectors = tensors.get("vectors")
    if vectors is None or str(vectors.dtype) != "torch.float32" or tuple(vectors.shape) != shape:
        raise DataError(f"{file}: must hold 'vectors' of shape {shape} in float32")
    if not bool(vectors.isfinite().all()):
        raise DataError(f"{file}: vectors must be finite")
    return vectors.numpy()
