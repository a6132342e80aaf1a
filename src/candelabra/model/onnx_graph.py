"""ONNX graphs of modules over tokens: writing, quantizing, opening and verifying them.

Shapes: B texts, L token positions.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from candelabra.data.tokens import TextTokenizer

INPUTS = ("input_ids", "attention_mask")
"""Inputs that candelabra passes to an encoder; token types keep their default."""
TOLERANCE = 1e-4
"""Largest difference between the outputs of torch and of onnxruntime in float32."""
SIZES = ((1, 1), (1, 7), (3, 12), (8, 5), (2, 0))
"""Batch sizes and lengths at which a graph is verified; length 0 is the tokenizer's maximum."""


def save_graph(module: nn.Module, file: Path, outputs: Sequence[str]) -> None:
    """Export a module with dynamic batch size and length.

    Args:
        module: Module from `INPUTS` to a tuple of tensors.
        file: File to write.
        outputs: Names of the outputs.
    """
    ids_BL = torch.ones(2, 4, dtype=torch.long)
    free = {name: {0: "batch", 1: "length"} for name in INPUTS}
    with _quietly():
        program = torch.onnx.export(
            module,
            (ids_BL, torch.ones_like(ids_BL)),
            dynamo=True,
            input_names=list(INPUTS),
            output_names=list(outputs),
            dynamic_shapes=free,
            verbose=False,
        )
    assert program is not None
    _tidy(program.model)
    program.save(str(file))


def quantize(file: Path, target: Path) -> None:
    """Write a graph with dynamic quantization to int8 weights.

    Args:
        file: The graph in float32.
        target: File to write, in a folder that exists.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = target.with_name("prepared.onnx")
    quant_pre_process(file, prepared, skip_symbolic_shape=True)
    quantize_dynamic(prepared, target, weight_type=QuantType.QInt8, per_channel=True)
    prepared.unlink()


def session(file: Path, *, num_threads: int = 0) -> Any:
    """Open an onnxruntime session on the CPU.

    Args:
        file: The graph.
        num_threads: Number of threads; 0 lets onnxruntime choose.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = num_threads
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


@torch.inference_mode()
def largest_difference(module: nn.Module, file: Path, tokenizer: TextTokenizer) -> float:
    """Return the largest absolute difference between the outputs of torch and onnxruntime.

    Random texts of several sizes with padding are compared; outputs of tokens only at tokens.

    Args:
        module: The exported module.
        file: Its graph.
        tokenizer: Tokenizer, whose vocabulary and maximum length bound the texts.
    """
    opened, generator = session(file), torch.Generator().manual_seed(0)
    vocabulary = len(tokenizer.tokenizer)
    worst = 0.0
    for texts, longest in SIZES:
        length = min(longest or tokenizer.max_length, tokenizer.max_length)
        ids_BL = torch.randint(vocabulary, (texts, length), generator=generator)
        mask_BL = torch.ones_like(ids_BL)
        for row in range(1, texts):
            mask_BL[row, max(1, length - 2 * row) :] = 0
        ids_BL[mask_BL == 0] = tokenizer.pad_id
        feeds = {"input_ids": ids_BL.numpy(), "attention_mask": mask_BL.numpy()}
        real_BL = mask_BL.bool().numpy()
        for found, expected in zip(opened.run(None, feeds), module(ids_BL, mask_BL), strict=True):
            differences = np.abs(found - expected.numpy())
            if differences.ndim == 3:
                differences = differences[real_BL]
            worst = max(worst, float(differences.max()))
    return worst


def _tidy(model: Any) -> None:
    """Rename internal values to numbers, and remove metadata with paths of this machine.

    Without the renaming, an internal value could have the name of an output, such as `embedding`.
    """
    model.metadata_props.clear()
    outputs = model.graph.outputs
    for place, node in enumerate(model.graph.all_nodes()):
        node.metadata_props.clear()
        node.name, node.doc_string = f"n{place}", None
        for number, value in enumerate(node.outputs):
            value.metadata_props.clear()
            if not any(value is output for output in outputs):
                value.name = f"v{place}_{number}"
    for value in (*model.graph.inputs, *outputs):
        value.metadata_props.clear()


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence warnings and log messages of the exporter and its libraries."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
