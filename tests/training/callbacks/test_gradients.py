"""What the tasks' gradients are compared to, where it is written, and the map of it."""

from __future__ import annotations

import csv
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import pytorch_lightning as pl
import torch
from matplotlib.figure import Figure
from torch.nn.functional import cosine_similarity

from candelabra.data.mixing.steps import alternate
from candelabra.records import Batch, Tokens
from candelabra.training.callbacks.checkpoints import AtomicCheckpointIO
from candelabra.training.callbacks.gradient_map import (
    _cosines,
    conflict_shares,
    draw,
    parts_of,
)
from candelabra.training.callbacks.gradients import (
    GradientDiagnostics,
    compare_gradients,
    is_finite,
)
from candelabra.training.gradient_noise import half_cosines, half_of
from candelabra.training.loggers.csv_file import MetricsFile
from candelabra.training.module import MultiTaskModule
from candelabra.training.task_gradients import StepReport
from candelabra.weighting.end_of_step import ALL
from helpers.toys import Splits, difference, fit, sgd, tiny, toy_model, toy_module
from helpers.two_ranks import EveryStep
from helpers.weightings import MAKE

PARTS = ["embeddings", "layer_1", "layer_2", ALL]


def report(rows: torch.Tensor) -> StepReport:
    tasks = tuple("abc"[: len(rows)])
    ones = torch.ones(len(rows), dtype=torch.float64)
    return StepReport(tasks, ones, {"layer_1": rows @ rows.T, ALL: 2 * rows @ rows.T}, ones)


def watched(
    toys: Splits, diagnostics: GradientDiagnostics | None, *, dropout: float = 0.1, **kwargs: Any
) -> MultiTaskModule:
    module = toy_module(toy_model(tiny(dropout=dropout)), weighting=MAKE["fixed"](), optimizer=sgd)
    callbacks = [] if diagnostics is None else [diagnostics]
    callbacks += kwargs.pop("callbacks", [])
    return fit(toys, module, callbacks=callbacks, **{"max_steps": 5, **kwargs})


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as stream:
        return list(csv.DictReader(stream))


def test_pairs_are_compared_by_cosine_and_length() -> None:
    rows = torch.randn(3, 5, generator=torch.Generator().manual_seed(1)).double()
    found = compare_gradients(report(rows))
    assert len(found) == 3 * 2 * 4
    for i, j in ((0, 1), (0, 2), (1, 2)):
        key = f"{'abc'[i]}_vs_{'abc'[j]}/layer_1"
        cosine = float(cosine_similarity(rows[i], rows[j], dim=0))
        assert found[f"{key}/cosine"] == pytest.approx(cosine)
        assert found[f"{key}/norm_ratio"] == pytest.approx(float(rows[i].norm() / rows[j].norm()))
        assert found[f"{key}/conflict"] == (cosine < 0)


def test_a_gradient_of_zero_has_no_angle() -> None:
    found = compare_gradients(report(torch.tensor([[1.0, 2.0], [0.0, 0.0]]).double()))
    assert set(found.values()) == {0.0}
    assert is_finite(report(torch.ones(2, 1).double()))
    assert not is_finite(report(torch.full((2, 1), torch.inf).double()))


def test_where_nothing_shared_learns_nothing_is_compared(tmp_path: Path) -> None:
    ones, nothing = torch.ones(2).double(), torch.zeros(2, 2).double()
    assert compare_gradients(StepReport(("a", "b"), ones, {ALL: nothing}, ones)) == {}
    diagnostics = GradientDiagnostics(every_n_steps=1, path=tmp_path / "gradients.png")
    diagnostics.load_state_dict({"looks": {0: {}, 1: {}}, "halves": {}})
    diagnostics.on_train_end(Mock(is_global_zero=True), Mock())
    assert not (tmp_path / "gradients.png").exists()


def test_shares_count_only_looks_that_compared() -> None:
    looks = {0: {"a_vs_b/all": -0.1}, 5: {"a_vs_b/all": 0.1, "a_vs_b/layer_1": -0.2}}
    assert conflict_shares(looks, {}) == {"a_vs_b/all": 0.5, "a_vs_b/layer_1": 1.0}


def test_a_cosine_within_the_noise_is_no_conflict() -> None:
    """The noise is that of the same two tasks in the same part."""
    rows = torch.tensor([[1.0, 0.0], [-0.3, 1.0]]).double()
    halves = {0: {"a/layer_1": -0.5, "b/layer_1": 0.1, "c/layer_1": 0.9, "a/all": 0.1, "b/all": 0}}
    found = compare_gradients(report(rows), halves)
    assert found["a_vs_b/layer_1/noise"] == pytest.approx(0.48)
    assert found["a_vs_b/all/noise"] == pytest.approx(0.095)
    assert [found[f"a_vs_b/{part}/conflict"] for part in ("layer_1", "all")] == [0, 1]
    looks = {0: {"a_vs_b/layer_1": found["a_vs_b/layer_1/cosine"]}}
    assert conflict_shares(looks, halves) == {"a_vs_b/layer_1": 0}


def test_the_noise_is_the_cosine_of_two_halves(toys: Splits) -> None:
    """Against autograd over the whole model, without dropout."""
    found: list[tuple[dict[str, float], dict[str, float]]] = []

    class Compare(pl.Callback):
        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            gradients = {p: p.grad.clone() for p in pl_module.parameters() if p.grad is not None}
            expected = {}
            for task, batch in self.batches.items():
                rows = []
                for start in (0, 1):
                    texts = tuple(
                        Tokens(t.ids_BL[start::2], t.mask_BL[start::2]) for t in batch.texts
                    )
                    first = None if batch.first_BW is None else batch.first_BW[start::2]
                    half = replace(
                        batch, texts=texts, labels=batch.labels[start::2], first_BW=first
                    )
                    encoder = pl_module.model.encoder
                    loss = pl_module.losses_of({task: half})[task]
                    layer = torch.autograd.grad(loss, list(encoder.layers[0].parameters()))
                    rows.append(torch.cat([g.flatten() for g in layer]))
                expected[f"{task}/layer_1"] = float(cosine_similarity(*rows, dim=0))
            found.append((half_cosines(pl_module, self.batches, ["layer_1"]), expected))
            assert all(p.grad.equal(gradient) for p, gradient in gradients.items())

        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, _: int) -> None:
            self.batches = batch

    fit(toys, callbacks=[Compare()], max_steps=2)
    assert len(found) == 2
    for cosines, expected in found:
        assert set(cosines) == {*expected, "mood/all", "who/all"}
        for key, cosine in expected.items():
            assert cosines[key] == pytest.approx(cosine, abs=1e-4)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_half_a_step_is_spread_over_the_processes_like_a_step(world_size: int) -> None:
    """A loss that compares examples gathers them by the number of examples of the step."""
    for num_examples, start in product(range(2, 20), (0, 1)):
        shares = [torch.arange(num_examples)[rank::world_size] for rank in range(world_size)]
        halves = [
            half_of(Batch((), share, share, 1, num_examples, 1), start, world_size)
            for share in shares
        ]
        size = sum(len(half.rows_B) for half in halves)
        for rank, half in enumerate(halves):
            assert half.num_examples == size
            assert len(half.rows_B) == len(range(size)[rank::world_size])


def test_every_process_reduces_the_parts_in_one_order(toys: Splits) -> None:
    """The order of a set differs between processes."""
    orders: list[list[int]] = []

    class Reduce(pl.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, _: int) -> None:
            reduce = trainer.strategy.reduce
            for parts in (["embeddings", "layer_1", "pooling"], ["layer_1", "embeddings"]):
                sizes: list[int] = []
                trainer.strategy.reduce = lambda gradient, sizes=sizes, **_: (
                    sizes.append(len(gradient)) or gradient
                )
                half_cosines(pl_module, batch, parts)
                orders.append([size for size in sizes if size])
            trainer.strategy.reduce = reduce

    fit(toys, callbacks=[Reduce()], max_steps=1)
    assert orders[0]
    assert orders[0] == orders[1]


def test_a_single_example_has_no_halves(toys: Splits) -> None:
    diagnostics = GradientDiagnostics(every_n_steps=1)
    watched(toys, diagnostics, data={"batch_size": 2}, max_steps=2)
    assert list(diagnostics.halves.values()) == [{}, {}]


def test_every_second_step_has_a_row_in_the_file(toys: Splits, tmp_path: Path) -> None:
    diagnostics = GradientDiagnostics(every_n_steps=2)
    logger = MetricsFile(folder=tmp_path)
    module = watched(toys, diagnostics, logger=logger, enable_checkpointing=False)
    assert list(diagnostics.looks) == [0, 2, 4]
    key = "gradients/mood_vs_who/layer_2"
    rows = [row for row in rows_of(tmp_path) if row[f"{key}/cosine"]]
    assert [row["step"] for row in rows] == ["0", "2", "4"]
    for row, look in zip(rows, diagnostics.looks.values(), strict=True):
        assert list(look) == [f"mood_vs_who/{part}" for part in PARTS]
        assert float(row[f"{key}/cosine"]) == look["mood_vs_who/layer_2"]
        assert float(row[f"{key}/norm_ratio"]) > 0
        for task in ("mood", "who"):
            raw, weight = (float(row[f"losses/{task}/{name}"]) for name in ("raw", "weight"))
            assert float(row[f"losses/{task}/weighted"]) == pytest.approx(raw * weight)
    shares = [float(row["gradients/mood_vs_who/all/conflict_share"]) for row in rows]
    for n, share in enumerate(shares, start=1):
        seen = [dict(list(each.items())[:n]) for each in (diagnostics.looks, diagnostics.halves)]
        assert share == conflict_shares(*seen)["mood_vs_who/all"]
    assert module.last_step is not None


def test_a_run_is_the_same_to_rounding(toys: Splits) -> None:
    plain = watched(toys, None)
    assert difference(plain, watched(toys, GradientDiagnostics(every_n_steps=2))) < 1e-6
    assert difference(plain, toy_module()) > 1e-3


@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint")  # the sampler is resumable
def test_looks_and_file_survive_a_resume(toys: Splits, tmp_path: Path) -> None:
    kept = {"plugins": [AtomicCheckpointIO()], "enable_checkpointing": True}

    def run(folder: Path, ckpt_path: Path | None = None) -> GradientDiagnostics:
        diagnostics = GradientDiagnostics(every_n_steps=2, path=folder / "gradients.png")
        callbacks = [EveryStep(folder)]
        logger = MetricsFile(folder=folder)
        watched(toys, diagnostics, callbacks=callbacks, logger=logger, ckpt_path=ckpt_path, **kept)
        return diagnostics

    whole = run(tmp_path / "whole")
    picture = (tmp_path / "whole" / "gradients.png").read_bytes()
    lines = (tmp_path / "whole" / "metrics.csv").read_bytes()
    (tmp_path / "whole" / "gradients.png").unlink()
    resumed = run(tmp_path / "whole", tmp_path / "whole" / "3.ckpt")
    assert resumed.looks == whole.looks
    assert (tmp_path / "whole" / "metrics.csv").read_bytes() == lines
    assert (tmp_path / "whole" / "gradients.png").read_bytes() == picture


def test_steps_with_one_task_are_not_looked_at(toys: Splits, tmp_path: Path) -> None:
    diagnostics = GradientDiagnostics(every_n_steps=1, path=tmp_path / "gradients.png")
    watched(toys, diagnostics, data={"step": alternate})
    assert diagnostics.looks == {}
    assert not list(tmp_path.iterdir())


def test_float16_only_multiplies_both(toys: Splits) -> None:
    from pytorch_lightning.plugins.precision import MixedPrecision

    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    half, full = GradientDiagnostics(every_n_steps=1), GradientDiagnostics(every_n_steps=1)
    plugins = [MixedPrecision("16-mixed", "cpu", scaler=scaler)]
    # Dropout takes as many random bits as a number has, so its masks would differ.
    watched(toys, half, plugins=plugins, max_steps=2, dropout=0.0)
    watched(toys, full, max_steps=2, dropout=0.0)
    for step, look in full.looks.items():
        assert half.looks[step] == pytest.approx(look, abs=0.02)


def test_the_map_is_drawn_for_every_pair_from_the_lowest_part_up(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    pairs = [f"{pair}/{part}" for pair in ("a_vs_b", "a_vs_c", "b_vs_c") for part in PARTS]
    looks = {
        step: dict(zip(pairs, (torch.rand(12, generator=generator) - 0.5).tolist(), strict=True))
        for step in range(0, 500, 50)
    }
    del looks[0]["a_vs_b/embeddings"]  # it did not learn yet
    assert parts_of(looks, "a_vs_b") == PARTS
    halves = {0: {f"{task}/{part}": 0.2 for task in "abc" for part in PARTS}}
    draw(looks, halves, tmp_path / "gradients.png")
    assert (tmp_path / "gradients.png").read_bytes().startswith(b"\x89PNG")
    assert parts_of({0: {f"a_vs_b/layer_{n}": 0.0 for n in (10, 2)}}, "a_vs_b") == [
        "layer_2",
        "layer_10",
    ]


def test_a_disk_that_is_full_does_not_fail_the_run(
    toys: Splits, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    diagnostics = GradientDiagnostics(every_n_steps=1, path=tmp_path / "file" / "gradients.png")
    watched(toys, diagnostics, max_steps=2)
    assert "gradients.png cannot be written" in caplog.text


def test_a_wrong_interval_is_refused() -> None:
    with pytest.raises(ValueError, match=r"every_n_steps must be 1 or more, got 0"):
        GradientDiagnostics(every_n_steps=0)


def test_colours_mean_the_same_in_every_picture() -> None:
    """And a small cosine does not look like a conflict."""
    panel = Figure().subplots()
    image = _cosines(panel, [[0.01, -0.01]], [0.05], [ALL], [0, 50])
    assert image.get_clim() == (-1, 1)
    assert not panel.collections  # no cross
    _cosines(panel, [[0.01, -0.01]], [0.005], [ALL], [0, 50])
    assert panel.collections[0].get_offsets().tolist() == [[1, 0]]
