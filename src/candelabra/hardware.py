"""Choice of device, precision and memory allocation for the hardware."""

from __future__ import annotations

import ctypes
import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from candelabra.errors import ConfigError

MALLOPT = {"M_TRIM_THRESHOLD": -1, "M_MMAP_THRESHOLD": -3, "M_MMAP_MAX": -4}
"""Parameter numbers from malloc.h of glibc."""
KEEP = {"M_TRIM_THRESHOLD": 2**31 - 1, "M_MMAP_MAX": 0}
GIVE_BACK = {"M_TRIM_THRESHOLD": 2**26, "M_MMAP_THRESHOLD": 2**25, "M_MMAP_MAX": 65536}
"""Values that glibc's own defaults grow to in a process that frees large tensors. Setting any of
them stops that growth, so all are set."""


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
        raise ConfigError(f"accelerator={accelerator}: this machine has no usable GPU")
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


def precision(asked: str, device: str, *, key: str = "precision") -> Any:
    """Return Lightning's name of the precision, resolving `auto` by the hardware.

    Args:
        asked: Value of `trainer.precision`: `auto` or a name that Lightning knows.
        device: Device type, such as `cpu`.
        key: Key of the setting, for error messages.

    Raises:
        ConfigError: If float16 is requested on a CPU, measured 50 times slower than float32.
    """
    if asked == "auto":
        return "bf16-mixed" if has_bf16(device) else "32-true"
    if device == "cpu" and str(asked).startswith("16"):
        raise ConfigError(
            f"{key}={asked}: float16 on a CPU is some 50 times slower than float32; "
            "use bf16-mixed or 32-true"
        )
    return str(asked)


def keep_freed_memory(keep: bool) -> bool:
    """Make glibc keep the memory of freed tensors for later tensors, or return it to the kernel.

    By default glibc returns the memory of tensors of more than 32 MiB. The next one gets new pages,
    each at the cost of a page fault.

    Args:
        keep: Whether to keep freed memory. `False` does as glibc does by default, and returns
            what was kept.

    Returns:
        Whether the settings were made. Other C libraries do not have them and are not changed.
    """
    if not _has_glibc():
        return False
    libc = ctypes.CDLL(None)
    values = KEEP if keep else GIVE_BACK
    done = [libc.mallopt(MALLOPT[name], value) == 1 for name, value in values.items()]
    if not keep:
        libc.malloc_trim(0)
    return all(done)


def _has_glibc() -> bool:
    """Return whether this process uses glibc; musl and macOS do not have this setting."""
    name = "CS_GNU_LIBC_VERSION"
    known: dict[str, int] = getattr(os, "confstr_names", {})
    return name in known and (os.confstr(name) or "").startswith("glibc")
