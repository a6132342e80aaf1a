from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from candelabra import hardware
from candelabra.errors import ConfigError


def with_gpu(monkeypatch: pytest.MonkeyPatch, kind: str | None) -> None:
    found = None if kind is None else torch.device(kind)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda **_: found)


@pytest.mark.parametrize(
    ("gpu", "asked", "device"),
    [
        (None, "auto", "cpu"),
        (None, "cpu", "cpu"),
        ("cuda", "auto", "cuda"),
        ("cuda", "gpu", "cuda"),
        ("cuda", "cpu", "cpu"),
        ("mps", "auto", "mps"),
        ("mps", "gpu", "mps"),
    ],
)
def test_the_device(
    gpu: str | None, asked: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_gpu(monkeypatch, gpu)
    assert hardware.device_type(asked) == device


@pytest.mark.parametrize("asked", ["gpu", "cuda", "mps"])
def test_a_gpu_that_is_not_there_is_refused(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpu(monkeypatch, None)
    with pytest.raises(ConfigError, match=f"^accelerator={asked}: .* no usable GPU"):
        hardware.device_type(asked)


@pytest.mark.parametrize(("has", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_follows_the_hardware(
    has: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "has_bf16", lambda device: has)
    assert hardware.precision("auto", "cpu") == precision


@pytest.mark.parametrize(
    ("capabilities", "has"),
    [({"avx512_bf16": True}, True), ({"bf16": True}, True), ({"avx512_bf16": False}, False)],
)
def test_bf16_of_a_cpu(
    capabilities: dict[str, bool], has: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert hardware.has_bf16("cpu") is has
    assert hardware.has_bf16("mps") is False


def test_this_machine_resolves() -> None:
    assert hardware.precision("auto", hardware.device_type("auto")) in ("bf16-mixed", "32-true")
    assert hardware.precision("auto", "cpu") in ("bf16-mixed", "32-true")


@pytest.mark.parametrize("asked", ["16-mixed", "16-true", "16", 16])
def test_float16_on_a_cpu_is_refused(asked: str) -> None:
    with pytest.raises(ConfigError, match=f"^precision={asked}: float16 on a CPU"):
        hardware.precision(asked, "cpu")
    assert hardware.precision(asked, "cuda") == str(asked)


@pytest.mark.parametrize("asked", ["32-true", "bf16-mixed", "bf16-true", "64-true"])
def test_another_choice_stands(asked: str) -> None:
    assert hardware.precision(asked, "cpu") == asked


PAGE_FAULTS = """
import resource, sys, torch
from candelabra.hardware import keep_freed_memory
mebibytes, *settings = sys.argv[1:]
for setting in settings:
    assert keep_freed_memory(setting == "keep")
for turn in range(30):
    if turn == 20:  # the first ones need new pages in any case
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(int(mebibytes), 2**18)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(*settings: str, mebibytes: int) -> int:
    """Page faults of ten tensors, one after the other, in a process of its own."""
    command = [sys.executable, "-c", PAGE_FAULTS, str(mebibytes), *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not hardware._has_glibc(), reason="a setting of glibc")
def test_freed_memory_is_kept_or_given_back() -> None:
    untouched, kept = page_faults(mebibytes=64), page_faults("keep", mebibytes=64)
    assert kept < untouched / 10
    for settings in (["keep", "give back"], ["give back"]):
        assert page_faults(*settings, mebibytes=64) == pytest.approx(untouched, rel=0.5)


@pytest.mark.skipif(not hardware._has_glibc(), reason="a setting of glibc")
def test_smaller_tensors_cost_what_they_cost_without_any_setting() -> None:
    """By itself, glibc keeps the memory of tensors of up to 32 MiB."""
    untouched = page_faults(mebibytes=8)
    assert abs(page_faults("give back", mebibytes=8) - untouched) < 100


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "_has_glibc", lambda: False)
    monkeypatch.setattr("ctypes.CDLL", lambda _: pytest.fail("nothing may be called"))
    assert not hardware.keep_freed_memory(True)
    assert not hardware.keep_freed_memory(False)


@pytest.mark.parametrize("version", ["musl 1.2", "", None])
def test_glibc_is_recognised_by_its_version(
    version: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.confstr", lambda _: version)
    assert not hardware._has_glibc()
    monkeypatch.setattr("os.confstr", lambda _: "glibc 2.36")
    assert hardware._has_glibc()
    monkeypatch.delattr("os.confstr_names")
    assert not hardware._has_glibc()
