"""Export to a folder for `SentenceTransformer(path)`, written without that library.

The files can be read by versions 5 and 6: version 6 still accepts the module paths of version 5,
which does not know the new ones.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from candelabra.bundle.bundle import Bundle
from candelabra.bundle.cross_encoders import no_vectors
from candelabra.exporting.formats import ONNX, SENTENCE_TRANSFORMERS, ExportResult, refusal
from candelabra.exporting.sentence_layers import layers_of
from candelabra.exporting.tokenizer import save_tokenizer
from candelabra.files import write_json
from candelabra.model.encoder import Encoder
from candelabra.model.pooling import ClsPooler, FunctionPooling, fixed_name
from candelabra.model.sentence_folder import MODES, OPTIONS

MODULES = "sentence_transformers.models."
FLAGS = {OPTIONS[mode]: flag for flag, mode in MODES.items()}
"""Options of the group `pooling` -> flags in sentence-transformers."""
USAGE = """\
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{model}")
vectors = model.encode(["a fine film", "a dull one"])
print(vectors.shape, model.similarity(vectors, vectors))
"""
STRIPS = (
    "Early releases of sentence-transformers 5 take white space off both ends of a text, "
    "candelabra does not; most tokenizers ignore it anyway."
)


def write(bundle: Bundle, folder: Path, task: str | None) -> ExportResult:
    """Write the modules Transformer, Pooling, the layers of the pooling, and Normalize.

    Args:
        bundle: The bundle to export, reduced to `task` if one is given.
        folder: Existing folder for the files.
        task: Task whose pooling is used. `None` uses the default pooling.

    Raises:
        ConfigError: If these modules cannot compute the sentence embedding.
    """
    crossed = no_vectors(bundle.config.tasks, task)
    if crossed:
        what = f"tasks.{crossed}: a cross-encoder gives no vectors of single texts"
        raise refusal(SENTENCE_TRANSFORMERS, what)
    model = bundle.model
    pooling = model.pooling if task is None else model.pooling_of(task)
    if task is not None and task in model.mixes:
        raise refusal(SENTENCE_TRANSFORMERS, f"the layer_mix of tasks.{task}", (ONNX,))
    layers = layers_of(pooling)
    modes = layers.modes if layers is not None else (_mode(pooling),)
    dense = pooling.dense if isinstance(pooling, ClsPooler) else None
    _save_encoder(model.encoder, dense, folder)
    save_tokenizer(bundle.tokenizer, folder)
    names = ["Transformer", "Pooling", *(["Dense"] if dense is not None else [])]
    names += [] if layers is None else [name for name, _, _ in layers.parts]
    if bundle.config.normalize:
        names.append("Normalize")
    _write_modules(names, folder, prompt=bundle.tokenizer.prompt)
    width, length = model.encoder.width, bundle.tokenizer.max_length
    settings = {"max_seq_length": length, "do_lower_case": False}
    write_json(folder / "sentence_bert_config.json", settings)
    flags = {name: name in modes for name in MODES}
    pooled = {"word_embedding_dimension": width, **flags, "include_prompt": True}
    write_json(folder / "1_Pooling" / "config.json", pooled)
    if dense is not None:
        _save_dense(dense, folder / "2_Dense")
    if layers is not None:
        layers.save(folder)
    return ExportResult(
        "sentence-transformers",
        "sentence-similarity",
        USAGE,
        [*_left_out(bundle), STRIPS],
        tags=["feature-extraction"],
    )


def _left_out(bundle: Bundle) -> list[str]:
    """Return a note about heads with parameters, which this format cannot represent."""
    heads = {task: list(bundle.model.head(task).parameters()) for task in bundle.labels}
    learned = [task for task, parameters in heads.items() if parameters]
    return [f"The heads of the tasks ({', '.join(learned)}) are left out."] if learned else []


def _mode(pooling: nn.Module) -> str:
    """Return the flag of a pooling in sentence-transformers."""
    option = "cls" if isinstance(pooling, ClsPooler) else fixed_name(pooling)
    if option not in FLAGS:
        function = pooling.function if isinstance(pooling, FunctionPooling) else type(pooling)
        name = getattr(getattr(function, "func", function), "__name__", repr(function))
        what = f"the pooling {name}: its own modules have none like it, others are remote code"
        raise refusal(SENTENCE_TRANSFORMERS, what, (ONNX,))
    return FLAGS[option]


def _save_encoder(encoder: Encoder, dense: nn.Linear | None, folder: Path) -> None:
    """Save the encoder with a pooler, because transformers warns if its weights are missing.

    No module uses this pooler. It gets the weights of `dense`, or zeros without it.
    """
    from transformers import AutoModel

    whole = AutoModel.from_config(encoder.backbone.config)
    missing, _ = whole.load_state_dict(encoder.backbone.state_dict(), strict=False)
    with torch.no_grad():
        for name in missing:
            whole.get_parameter(name).zero_()
        target = getattr(getattr(whole, "pooler", None), "dense", None)
        if dense is not None and isinstance(target, nn.Linear):
            target.load_state_dict(dense.state_dict())
    whole.save_pretrained(folder)


def _save_dense(dense: nn.Linear, folder: Path) -> None:
    tensors = {f"linear.{name}": each.contiguous() for name, each in dense.state_dict().items()}
    save_file(tensors, folder / "model.safetensors")
    config = {"in_features": dense.in_features, "out_features": dense.out_features, "bias": True}
    tanh = {"activation_function": "torch.nn.modules.activation.Tanh"}
    write_json(folder / "config.json", {**config, **tanh})


def _write_modules(names: list[str], folder: Path, *, prompt: str) -> None:
    rows: list[dict[str, Any]] = []
    for place, name in enumerate(names):
        path = "" if place == 0 else f"{place}_{name}"
        rows.append({"idx": place, "name": str(place), "path": path, "type": MODULES + name})
        (folder / path).mkdir(parents=True, exist_ok=True)
    write_json(folder / "modules.json", rows)
    if names[-1] == "Normalize":
        # Git does not store empty folders, so a clone from the Hub would lack this one.
        write_json(folder / rows[-1]["path"] / "config.json", {})
    # encode_query and encode_document have prompts of their own, in place of the default.
    about: dict[str, Any] = {
        "model_type": "SentenceTransformer",
        "prompts": dict.fromkeys(("default", "query", "document"), prompt) if prompt else {},
        "default_prompt_name": "default" if prompt else None,
        "similarity_fn_name": "cosine",
    }
    write_json(folder / "config_sentence_transformers.json", about)
