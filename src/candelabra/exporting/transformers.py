"""Export of one task to a model class of transformers, for its pipelines.

Shapes: B texts, L token positions, W words, C labels.
"""

from __future__ import annotations

import re
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from candelabra.bundle.bundle import Bundle
from candelabra.bundle.checkpoint import TEXT_LAYERS
from candelabra.data.collate import pad_tokens
from candelabra.exporting.formats import (
    ONNX,
    TRANSFORMERS,
    ExportResult,
    check_prompt,
    refusal,
)
from candelabra.exporting.supported_heads import check_head
from candelabra.exporting.tokenizer import save_tokenizer
from candelabra.model import pooling as poolings
from candelabra.model.pooling import ClsPooler, FunctionPooling
from candelabra.records import Tokens

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PROBLEMS: dict[str, Any] = {
    "classification": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regression": "regression",
}
TOLERANCE = 1e-4
PROBE = ("what 1995 romantic comedy starred michael douglas", "dull", "a film " * 400)
"""Texts on which the exported model is compared with the bundle."""
TEXT_USAGE = """\
from transformers import pipeline

pipe = pipeline("text-classification", model="{model}", top_k=None%s)
print(pipe(["a fine film", "a dull one"], truncation=True))
"""
TOKEN_USAGE = """\
from transformers import pipeline

pipe = pipeline("token-classification", model="{model}", aggregation_strategy="first")
print(pipe("what 1995 romantic comedy starred michael douglas"))
"""
CUTS = "The pipeline truncates long texts only if it is called with `truncation=True`."
VITERBI = (
    "The bundle predicts the best valid BIO sequence (Viterbi). The pipeline takes the best tag of "
    "each word, so some predictions differ."
)
WORDS = (
    "The tokenizer's rules split a text into words; candelabra splits at white space and around "
    "punctuation. Where both agree, so do the predictions."
)
NO_WORDS = (
    "This tokenizer does not mark words, so the pipeline warns and splits at white space only. "
    "Punctuation that touches a word becomes part of it. With spaces around punctuation, the "
    "predictions are those of candelabra."
)


def write(bundle: Bundle, folder: Path, task: str) -> ExportResult:
    """Write the task as the architecture's class for token or sequence classification.

    Args:
        bundle: Bundle reduced to this task.
        folder: Existing folder for the files.
        task: Name of the task.

    Raises:
        ConfigError: If the class cannot represent the head, or its logits differ from the
            bundle's by more than `TOLERANCE`.
    """
    head = bundle.model.head(task)
    check_prompt(TRANSFORMERS, bundle.tokenizer.prompt)
    check_head(TRANSFORMERS, task, head)
    if task in bundle.model.mixes:
        raise refusal(TRANSFORMERS, f"the layer_mix of tasks.{task}", (ONNX,))
    config = _config(bundle, task, head.kind)
    tags = head.kind == "tagging"
    model = _for_tokens(config, bundle, task) if tags else _for_texts(config, bundle, task)
    difference = _difference(model, bundle, task)
    if difference > TOLERANCE:
        what = f"tasks.{task}: logits differ by {difference:.1g}"
        raise refusal(TRANSFORMERS, what, (ONNX,))
    model.save_pretrained(folder)
    save_tokenizer(bundle.tokenizer, folder)
    if not tags:
        plain = ', function_to_apply="none"' if head.kind == "regression" else ""
        return ExportResult(
            "transformers", "text-classification", TEXT_USAGE % plain, [CUTS], checked=difference
        )
    limits = [_words_note(bundle), *([VITERBI] if head.constrained else [])]
    return ExportResult(
        "transformers", "token-classification", TOKEN_USAGE, limits, checked=difference
    )


def _words_note(bundle: Bundle) -> str:
    """Return how words of the pipeline differ from those of candelabra."""
    model = bundle.tokenizer.tokenizer.backend_tokenizer.model
    return WORDS if getattr(model, "continuing_subword_prefix", None) else NO_WORDS


def _config(bundle: Bundle, task: str, kind: str) -> Any:
    config = deepcopy(bundle.model.encoder.backbone.config)
    names = bundle.labels[task] or [task]  # Regression has no labels, so use the task name.
    config.id2label = dict(enumerate(names))
    config.label2id = {name: place for place, name in enumerate(names)}
    if kind in PROBLEMS:
        config.problem_type = PROBLEMS[kind]
    return config


def _for_tokens(config: Any, bundle: Bundle, task: str) -> PreTrainedModel:
    """Build a token classifier with dropout and one linear layer over every token."""
    from transformers import AutoModelForTokenClassification

    model = _empty_model(AutoModelForTokenClassification, config, task)
    own = {name for name, _ in model.named_parameters() if not _is_base(name, model)}
    if own != {"classifier.weight", "classifier.bias"}:
        name = type(model).__name__
        raise refusal(TRANSFORMERS, f"tasks.{task}: {name} has layers beyond one", (ONNX,))
    return _fill(model, bundle, {"classifier": bundle.model.head(task).linears()[-1]})


def _for_texts(config: Any, bundle: Bundle, task: str) -> PreTrainedModel:
    """Build a sequence classifier with a tanh layer over [CLS] and a linear layer."""
    from transformers import AutoModelForSequenceClassification

    head, pooling = bundle.model.head(task), bundle.model.pooling_of(task)
    layers = head.linears()
    hidden = len(layers) > 1
    if isinstance(pooling, ClsPooler) and not hidden:
        layers = [pooling.dense, *layers]
    elif not (_is_cls(pooling) and hidden):
        raise refusal(
            TRANSFORMERS,
            f"tasks.{task}: the classes for texts compute linear(tanh(dense([CLS]))), which is "
            "pooling=cls_pooler with a linear head, or pooling=cls with head mlp",
            (ONNX,),
        )
    if config.model_type not in TEXT_LAYERS:
        known = ", ".join(TEXT_LAYERS)
        what = f"tasks.{task}: of {config.model_type}, whose class has other layers than {known}"
        raise refusal(TRANSFORMERS, what, (ONNX,))
    model = _empty_model(AutoModelForSequenceClassification, config, task)
    return _fill(model, bundle, dict(zip(TEXT_LAYERS[config.model_type], layers, strict=True)))


def _empty_model(auto: Any, config: Any, task: str) -> PreTrainedModel:
    """Return a model of the architecture with random weights."""
    try:
        model: PreTrainedModel = auto.from_config(config)
    except ValueError as error:
        what = f"tasks.{task}: transformers has no such class for {config.model_type}"
        raise refusal(TRANSFORMERS, what, (ONNX,)) from error
    return model.eval()


def _fill(model: PreTrainedModel, bundle: Bundle, layers: dict[str, nn.Linear]) -> PreTrainedModel:
    """Load the weights of the encoder and of the named layers into the model."""
    state = bundle.model.encoder.backbone.state_dict()
    missing, unexpected = model.base_model.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.startswith("pooler.") for name in missing)
    for name, layer in layers.items():
        model.get_submodule(name).load_state_dict(layer.state_dict())
    return model


def _is_base(name: str, model: PreTrainedModel) -> bool:
    return re.match(rf"{model.base_model_prefix}\.", name) is not None


def _is_cls(pooling: nn.Module) -> bool:
    function = pooling.function if isinstance(pooling, FunctionPooling) else None
    return (function.func if isinstance(function, partial) else function) is poolings.cls


@torch.inference_mode()
def _difference(model: PreTrainedModel, bundle: Bundle, task: str) -> float:
    """Return the largest absolute difference of the logits, ignoring padding."""
    tokens = probe_tokens(bundle)
    ours = bundle.model
    encoded = ours.encoder(tokens)
    expected = ours.head(task).export_logits(encoded, ours.pooling_of(task))
    found: Tensor = model(input_ids=tokens.ids_BL, attention_mask=tokens.mask_BL).logits
    differences = (found - expected).abs()
    if differences.dim() == 3:
        differences = differences[tokens.mask_BL.bool()]
    return float(differences.max())


def probe_tokens(bundle: Bundle) -> Tokens:
    """Tokenize and pad the texts of `PROBE`, which have unequal lengths."""
    tokenized = bundle.tokenizer(PROBE)
    return pad_tokens([tokenized.text(row) for row in range(len(PROBE))], bundle.tokenizer.pad_id)
