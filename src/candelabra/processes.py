"""Launcher of one process for each device of this machine, if `trainer.devices` is above 1.

Lightning's launcher gives each process a separate Hydra folder, and the processes of torchrun
survive a killed parent because they have separate sessions. Runs on several machines are started
with torchrun or srun. This module imports nothing slow.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

LAUNCHED = "CANDELABRA_LAUNCHED"
TRIAL = "CANDELABRA_TRIAL"
"""Environment variable that is set in the process of a trial."""
SEARCH = "CANDELABRA_SEARCH"
"""Environment variable that connects a trial with its search: JSON of `tuning.search`."""
PATIENCE_SECONDS = 3.0
"""Time for the other processes to end by themselves after one process failed."""
GRACE_SECONDS = 30.0
"""Time from SIGTERM to SIGKILL."""


def rank() -> int:
    """Return the rank of this process in the run; 0 if it is the only one."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")))


def started_from_outside() -> bool:
    """Return whether torchrun or srun started several processes of this command."""
    counts = (os.environ.get("WORLD_SIZE", "1"), os.environ.get("SLURM_NTASKS", "1"))
    here = "RANK" in os.environ or "SLURM_PROCID" in os.environ
    return here and LAUNCHED not in os.environ and any(int(count) > 1 for count in counts)


def processes_of(trainer: Mapping[str, Any]) -> int:
    """Return the number of processes to start; 1 if this process is already one of several.

    Args:
        trainer: Trainer settings with `devices` and `accelerator`.

    Raises:
        ValueError: If `devices` is neither a number of devices nor a list of them.
    """
    if LAUNCHED in os.environ or started_from_outside():
        return 1
    devices = trainer["devices"]
    if isinstance(devices, str) and "," in devices:
        devices = [device for device in devices.split(",") if device.strip()]
    elif isinstance(devices, str) and devices != "auto":
        devices = int(devices)
    if devices in ("auto", -1):
        if trainer["accelerator"] == "cpu":
            return 1
        import torch

        return max(1, torch.accelerator.device_count())
    return devices if isinstance(devices, int) else len(devices)


def launch(command: Sequence[str], processes: int) -> int:
    """Run a command in several processes, and forward Ctrl-C, SIGTERM and SIGHUP to them.

    Args:
        command: Program and arguments.
        processes: Number of processes.

    Returns:
        128 + signal if a signal was forwarded, else the status of a process that failed, else 0.
    """
    ranks = [
        _start(command, index, processes, port)
        for port in [_free_port()]
        for index in range(processes)
    ]
    received: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        """Send a signal of this process to the others."""
        received.append(number)
        for process in ranks:
            process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in ending_signals()}
    try:
        status = _wait(ranks, received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for process in ranks:
            process.communicate()
    return 128 + received[0] if received else status


def end_with_the_parent() -> None:
    """Make a launched process exit when its parent ends, even if the parent was killed."""
    if LAUNCHED in os.environ:
        threading.Thread(target=_await_end_of_parent, daemon=True).start()


def _start(
    command: Sequence[str], index: int, processes: int, port: int
) -> subprocess.Popen[bytes]:
    numbers = {"RANK": index, "LOCAL_RANK": index, "WORLD_SIZE": processes, "MASTER_PORT": port}
    # If the processes had more threads than cores in total, they would slow each other down.
    threads = max(1, (os.cpu_count() or 1) // processes)
    settings = {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": str(threads)}
    env = settings | os.environ | {key: str(value) for key, value in numbers.items()}
    # Import the same modules as this process; a resumed run changes the working directory.
    env |= {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    env.pop("SLURM_NTASKS", None)  # in a SLURM job Lightning would wait for srun's processes
    return subprocess.Popen(command, env={**env, LAUNCHED: "1"}, stdin=subprocess.PIPE)


def ending_signals() -> list[signal.Signals]:
    """Return the signals that ask a command to end; `nohup` makes it ignore SIGHUP."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    return (
        numbers if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [*numbers, signal.SIGHUP]
    )


def _wait(ranks: Sequence[subprocess.Popen[bytes]], received: Sequence[int]) -> int:
    """Wait for all processes; if one fails, end the others, which would wait for it forever."""
    # Poll all each time: the failed process may come after one that waits for it.
    while None in (codes := [process.poll() for process in ranks]):
        failed = [code for code in codes if code]
        if failed:
            if not received:
                _report(codes)
            time.sleep(PATIENCE_SECONDS)
            _end(ranks)
            return _status(failed[0])
        time.sleep(0.1)
    return _status(next((process.returncode for process in ranks if process.returncode), 0))


def _end(ranks: Sequence[subprocess.Popen[bytes]]) -> None:
    """Terminate all processes, and kill those that do not end in time."""
    for process in ranks:
        process.terminate()
    deadline = time.monotonic() + GRACE_SECONDS
    for process in ranks:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()


def _report(codes: Sequence[int | None]) -> None:
    """Print which process died; one that ended by itself has printed its own error."""
    for index, code in enumerate(codes):
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            hint = ", as when memory is short" if -code == signal.SIGKILL else ""
            print(
                f"candelabra: error: process {index} of {len(codes)} (counted from 0) died of "
                f"{name}{hint}; the others are ended",
                file=sys.stderr,
            )


def _status(returncode: int) -> int:
    return 128 - returncode if returncode < 0 else returncode


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _await_end_of_parent() -> None:
    """Exit at the end of stdin: the parent never writes to it, and closes it when it ends."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)
