"""Choice of device and precision for the hardware."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from candelabra.errors import ConfigError


def device_type(accelerator: str) -> str:
    """Return the PyTorch device type for Lightning's name of an accelerator.

    Returns:
        `cpu`, or the type of the available GPU, such as `cuda` or `mps`.

    Raises:
        ConfigError: If a GPU is requested and none is available.
    """
    best = torch.accelerator.current_accelerator(check_available=True)
    if accelerator == "auto":
        return best.type if best is not None else "cpu"
    if accelerator in ("gpu", "cuda", "mps") and best is None:
        raise ConfigError(f"trainer.accelerator={accelerator}: this machine has no usable GPU")
    return "cpu" if accelerator == "cpu" or best is None else best.type


def has_bf16(device: str) -> bool:
    """Return whether the device multiplies bfloat16 in hardware (emulation would be slower)."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "cpu":
        found = torch.cpu.get_capabilities()
        return any(found.get(unit, False) for unit in ("avx512_bf16", "amx_bf16", "bf16"))
    return False


def half(precision: str, device: str) -> AbstractContextManager[Any]:
    """Return bfloat16 autocast if `precision` is a bf16 mode, else a null context."""
    return torch.autocast(device, torch.bfloat16) if "bf16" in precision else nullcontext()


def precision(asked: str, device: str) -> Any:
    """Return Lightning's name of the precision, resolving `auto` by the hardware.

    Args:
        asked: `trainer.precision`: `auto` or a name that Lightning knows.
        device: Device type, such as `cpu`.

    Raises:
        ConfigError: If float16 is requested on a CPU, measured 50 times slower than float32.
    """
    if asked == "auto":
        return "bf16-mixed" if has_bf16(device) else "32-true"
    if device == "cpu" and str(asked).startswith("16"):
        raise ConfigError(
            f"trainer.precision={asked}: float16 on a CPU is some 50 times slower than float32; "
            "use bf16-mixed or 32-true"
        )
    return str(asked)
