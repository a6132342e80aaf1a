"""One process for each device of this machine, where `trainer.devices` is above 1.

Lightning would start them itself, but under Hydra in folders of their own; torchrun keeps them in
sessions of their own, where they outlive a killed parent. Several machines are started from
outside, by torchrun or srun. Imports nothing heavy.
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
PATIENCE_SECONDS = 3.0
"""How long the others go on when one process has ended with an error: they may be ending too."""
GRACE_SECONDS = 30.0
"""How long they may take to end once they are told to."""


def rank() -> int:
    """This process' number among all of the run, 0 where it is the only one."""
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")))


def started_from_outside() -> bool:
    """Whether torchrun or srun started several processes of this command."""
    counts = (os.environ.get("WORLD_SIZE", "1"), os.environ.get("SLURM_NTASKS", "1"))
    here = "RANK" in os.environ or "SLURM_PROCID" in os.environ
    return here and LAUNCHED not in os.environ and any(int(count) > 1 for count in counts)


def processes_of(trainer: Mapping[str, Any]) -> int:
    """How many processes this command has to start; 1 where it is one of several already.

    Raises:
        ValueError: `devices` is no number of devices and no list of them.
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
    """Runs `command` once for each device; SIGTERM and Ctrl-C are passed on.

    Returns:
        0, the status of the process that failed first, or 128 + the signal that was passed on.
    """
    ranks = [
        _start(command, index, processes, port)
        for port in [_free_port()]
        for index in range(processes)
    ]
    received: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        received.append(number)
        for process in ranks:
            process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        status = _wait(ranks)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for process in ranks:
            process.communicate()
    return 128 + received[0] if received else status


def end_with_the_parent() -> None:
    """In a launched process: ends it when its parent is gone, however that ended."""
    if LAUNCHED in os.environ:
        threading.Thread(target=_await_end_of_parent, daemon=True).start()


def _start(
    command: Sequence[str], index: int, processes: int, port: int
) -> subprocess.Popen[bytes]:
    numbers = {"RANK": index, "LOCAL_RANK": index, "WORLD_SIZE": processes, "MASTER_PORT": port}
    # Threads of all processes together: more than the cores would wait for each other.
    threads = max(1, (os.cpu_count() or 1) // processes)
    settings = {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": str(threads)}
    env = settings | os.environ | {key: str(value) for key, value in numbers.items()}
    # Modules of this process and no others: a resumed run brings its own working folder.
    env |= {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    env.pop("SLURM_NTASKS", None)  # in a SLURM job Lightning would wait for srun's processes
    return subprocess.Popen(command, env={**env, LAUNCHED: "1"}, stdin=subprocess.PIPE)


def _wait(ranks: Sequence[subprocess.Popen[bytes]]) -> int:
    """Waits for all; when one fails, the others are told to end: they would wait for it."""
    # All are asked each time: the one that failed may come after one that waits for it.
    while None in (codes := [process.poll() for process in ranks]):
        failed = [code for code in codes if code]
        if failed:
            time.sleep(PATIENCE_SECONDS)
            for process in ranks:
                process.terminate()
            deadline = time.monotonic() + GRACE_SECONDS
            for process in ranks:
                try:
                    process.wait(max(0.0, deadline - time.monotonic()))
                except subprocess.TimeoutExpired:
                    process.kill()
            return _status(failed[0])
        time.sleep(0.1)
    return _status(next((process.returncode for process in ranks if process.returncode), 0))


def _status(returncode: int) -> int:
    return 128 - returncode if returncode < 0 else returncode


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def _await_end_of_parent() -> None:
    """The parent holds the other end of stdin and never writes to it."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)
