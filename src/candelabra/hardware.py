"""What the machine can do: device and precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from candelabra.errors import ConfigError


def device_type(accelerator: str) -> str:
    """`cpu`, `cuda` or `mps`, for Lightning's name of an accelerator.

    Raises:
        ConfigError: A GPU is asked for where there is none.
    """
    best = torch.accelerator.current_accelerator(check_available=True)
    if accelerator == "auto":
        return best.type if best is not None else "cpu"
    if accelerator in ("gpu", "cuda", "mps") and best is None:
        raise ConfigError(f"trainer.accelerator={accelerator}: this machine has no usable GPU")
    return "cpu" if accelerator == "cpu" or best is None else best.type


def has_bf16(device: str) -> bool:
    """Whether bfloat16 products run in hardware there; emulated ones would be slower."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "cpu":
        found = torch.cpu.get_capabilities()
        return any(found.get(unit, False) for unit in ("avx512_bf16", "amx_bf16", "bf16"))
    return False


def half(precision: str, device: str) -> AbstractContextManager[Any]:
    """Where `precision` says so, passes of the encoder in bfloat16."""
    return torch.autocast(device, torch.bfloat16) if "bf16" in precision else nullcontext()


def precision(asked: str, device: str) -> Any:
    """Lightning's name of the precision to train in; `auto` is resolved by the hardware.

    Raises:
        ConfigError: float16 on a CPU, measured 50 times slower than float32.
    """
    if asked == "auto":
        return "bf16-mixed" if has_bf16(device) else "32-true"
    if device == "cpu" and str(asked).startswith("16"):
        raise ConfigError(
            f"trainer.precision={asked}: float16 on a CPU is some 50 times slower than float32; "
            "use bf16-mixed or 32-true"
        )
    return str(asked)
