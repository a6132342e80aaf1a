"""The attention that candelabra takes by itself against eager and sdpa, in bf16 and float32.

    python benchmarks/attention.py --turns 3

MiniLM (or `--model`) on random tokens: 16 texts of 256 and of 24 tokens a training step, 32 and 64
in inference.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from contextlib import AbstractContextManager, nullcontext

import torch
from hf_trainer import bundled_model

from candelabra.model.backbones import Pretrained
from candelabra.model.encoder import Encoder
from candelabra.records import Tokens

SHAPES = {"training": ((16, 256), (16, 24)), "inference": ((64, 256), (32, 384), (64, 24))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--model", default=bundled_model(), help="folder; default: MiniLM")
    parser.add_argument("--attention", nargs="+", default=["auto", "eager", "sdpa"])
    parser.add_argument("--precision", nargs="+", default=["bf16", "fp32"])
    arguments = parser.parse_args()
    encoders = {
        attention: Pretrained(name=arguments.model, max_length=384, attention=attention)
        .load()
        .to(arguments.device)
        for attention in arguments.attention
    }
    for mode, shapes in SHAPES.items():
        for shape in shapes:
            times: dict[tuple[str, str], list[float]] = {}
            for _ in range(arguments.turns + 1):
                for attention, precision in itertools.product(encoders, arguments.precision):
                    seconds = measure(encoders[attention], mode, shape, precision=precision)
                    times.setdefault((attention, precision), []).append(seconds)
            # The first turn warms up.
            medians = {key: statistics.median(found[1:]) for key, found in times.items()}
            cells = (f"{a} {p} {seconds:.3f}" for (a, p), seconds in medians.items())
            print(f"{mode} {shape[0]} x {shape[1]}, seconds a pass: {', '.join(cells)}", flush=True)


def measure(encoder: Encoder, mode: str, shape: tuple[int, int], *, precision: str) -> float:
    encoder.train(mode == "training")
    device = next(encoder.parameters()).device
    tokens = Tokens(
        torch.randint(1000, 20000, shape, device=device),
        torch.ones(shape, dtype=torch.long, device=device),
    )
    start = time.perf_counter()
    with casting(device.type, precision), torch.set_grad_enabled(mode == "training"):
        loss = encoder(tokens).hidden_BLD.float().square().mean()
    if mode == "training":
        loss.backward()
        encoder.zero_grad()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def casting(device: str, precision: str) -> AbstractContextManager[object]:
    return torch.autocast(device, torch.bfloat16) if precision == "bf16" else nullcontext()


if __name__ == "__main__":
    main()
