"""Every weighting through whole optimizer steps: by hand, in parts, in bf16, in two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from candelabra.errors import ConfigError
from candelabra.model.adapters import Lora
from candelabra.model.freeze.constant import FreezeEncoder
from candelabra.model.freeze.freezer import Freezer
from candelabra.model.freeze.scheduled import Gradual
from candelabra.training.callbacks.checkpoints import AtomicCheckpointIO
from candelabra.training.task_gradients import check_possible, part_of
from candelabra.weighting import gram
from candelabra.weighting.end_of_step import ALL, GradientWeighting, StepWeighting
from helpers import weightings
from helpers.toys import (
    LABELS,
    Splits,
    difference,
    sgd,
    tiny,
    toy_data,
    toy_model,
    toy_module,
    toy_trainer,
)
from helpers.two_ranks import EveryStep
from helpers.weightings import MAKE, NAMES, SCHEMES, model, state, trained

each = pytest.mark.parametrize("name", NAMES)
some = pytest.mark.parametrize(
    "name", ["dwa", "famo", "gradnorm", "cagrad", "fixed told apart at times"]
)


@pytest.fixture(scope="module")
def alone(toys: Splits) -> dict[str, dict[str, Tensor]]:
    """One process, no accumulation."""
    return {name: state(trained(toys, name)) for name in NAMES}


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Tensor]]:
    """Two processes with two micro-batches each, some of which are empty."""
    file = tmp_path_factory.mktemp("weightings") / "found.pt"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", weightings.__name__, str(file)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return torch.load(file, weights_only=True)


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        torch.testing.assert_close(
            found[key],
            tensor,
            atol=2e-5,
            rtol=1e-4,
            equal_nan=True,
            msg=lambda m, k=key: f"{k}: {m}",
        )


@each
def test_two_processes_equal_one(
    name: str, alone: dict[str, dict[str, Tensor]], of_two: dict[str, dict[str, Tensor]]
) -> None:
    assert_same(of_two[name], alone[name])


@some
def test_micro_batches_change_nothing(
    toys: Splits, name: str, alone: dict[str, dict[str, Tensor]]
) -> None:
    assert_same(state(trained(toys, name, accumulate=2)), alone[name])


def test_schemes_differ(alone: dict[str, dict[str, Tensor]]) -> None:
    """So that the comparisons above tell something; these two are half and the same direction."""
    key = "heads.mood.classifier.1.weight"
    found = [alone[name][key] for name in MAKE]
    apart = [
        (one, other)
        for place, one in enumerate(found)
        for other in found[:place]
        if not torch.allclose(one, other, atol=1e-6)
    ]
    assert len(apart) > 0.9 * len(found) * (len(found) - 1) / 2


@pytest.mark.parametrize("name", ["fixed told apart at times", "uncertainty told apart"])
def test_telling_tasks_apart_changes_a_step_by_rounding_only(
    name: str, alone: dict[str, dict[str, Tensor]]
) -> None:
    plain = alone[name.partition(" ")[0]]
    assert_same({key: alone[name][key] for key in plain}, plain)


@some
def test_bf16_stays_near_float32(
    toys: Splits, name: str, alone: dict[str, dict[str, Tensor]]
) -> None:
    found = state(trained(toys, name, precision="bf16-mixed"))
    start = model().state_dict()
    moved = torch.cat([(alone[name][key] - start[key]).flatten().float() for key in start])
    off = torch.cat([(alone[name][key] - found[key]).flatten().float() for key in start])
    assert off.isfinite().all()
    assert off.norm() < 0.2 * moved.norm()


@pytest.mark.parametrize(("name", "passes"), [("fixed", 1), ("uncertainty", 1), ("pcgrad", 2)])
def test_the_tasks_of_a_step_share_a_pass_unless_their_backward_passes_are_apart(
    toys: Splits, name: str, passes: int
) -> None:
    module, seen = toy_module(model(), weighting=MAKE[name](), optimizer=sgd), []
    module.model.encoder.backbone.register_forward_pre_hook(lambda *_: seen.append(1))
    toy_trainer(max_steps=1, limit_val_batches=0).fit(
        module, datamodule=toy_data(toys, batch_size=5)
    )
    assert len(seen) == passes


@pytest.mark.parametrize("name", [*SCHEMES, "geometric", "gradnorm", "famo"])
def test_a_step_is_the_one_by_hand(toys: Splits, name: str) -> None:
    """Gradients by autograd, weights from the scheme, plain descent; heads as the scheme says."""
    module = toy_module(model(), weighting=MAKE[name](), optimizer=sgd)
    expected = toy_module(model(), weighting=MAKE[name]())
    batches = {
        task: toys[task]["train"].batch(rows)
        for task, rows in toy_data(toys, batch_size=5).schedule.batch(0).items()  # type: ignore[union-attr]
    }
    ours = expected.model.train()
    logits = {task: ours.forward_task(task, batch) for task, batch in batches.items()}
    names = [key for key, _ in ours.named_parameters()]
    losses, gradients = {}, {}
    for task, batch in batches.items():
        total = ours.head(task).loss(expected.objectives[task].loss, logits[task], batch)
        losses[task] = total / batch.num_units
        found = torch.autograd.grad(losses[task], list(ours.parameters()), allow_unused=True)
        gradients[task] = dict(zip(names, found, strict=True))
    shared = [key for key in names if key.startswith("encoder.")]
    flat_KP = torch.stack([torch.cat([gradients[t][k].flatten() for k in shared]) for t in LABELS])
    weighting = expected.weighting
    assert isinstance(weighting, StepWeighting)
    losses_K = torch.stack([losses[task].detach() for task in LABELS]).double()
    grams = {ALL: (flat_KP @ flat_KP.T).double()}
    weights = dict(zip(LABELS, weighting.settle(losses_K, grams).float(), strict=True))
    if name in SCHEMES:
        # As for the head: what only one task reaches takes the plain gradient.
        assert not weighting.heads
    with torch.no_grad():
        for key, parameter in ours.named_parameters():
            for task in LABELS:
                if (gradient := gradients[task][key]) is not None:
                    factor = weights[task] if key in shared or weighting.heads else 1.0
                    parameter -= 0.1 * factor * gradient
    trainer = toy_trainer(max_steps=1, limit_val_batches=0)
    trainer.fit(module, datamodule=toy_data(toys, batch_size=5))
    assert difference(module, expected) < 1e-6
    assert difference(module, toy_module(model())) > 1e-4
    assert module.last_step is not None
    assert list(module.last_step.grams) == ["embeddings", "layer_1", "layer_2", ALL]
    torch.testing.assert_close(module.last_step.grams[ALL], grams[ALL], rtol=1e-4, atol=1e-8)


def test_parts_carry_plain_names() -> None:
    assert part_of("encoder.backbone.encoder.layer.3.output.dense.weight", 6) == "layer_4"
    assert part_of("encoder.backbone.embeddings.word_embeddings.weight", 6) == "embeddings"
    assert part_of("pooling.query", 6) == "pooling"
    assert part_of("heads.mood.classifier.1.bias", 6) == "other"


@pytest.mark.parametrize("name", ["dwa", "famo", "gradnorm", "pcgrad"])
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint")  # the sampler is resumable
def test_a_resume_goes_on_to_the_bit(toys: Splits, name: str, tmp_path: Path) -> None:
    def run(ckpt_path: Path | None = None) -> dict[str, Tensor]:
        module = toy_module(toy_model(tiny(dropout=0.2)), weighting=MAKE[name](), optimizer=sgd)
        trainer = toy_trainer(
            max_steps=4,
            limit_val_batches=0,
            callbacks=[EveryStep(tmp_path)],
            plugins=[AtomicCheckpointIO()],
            enable_checkpointing=True,
        )
        trainer.fit(module, datamodule=toy_data(toys), ckpt_path=ckpt_path, weights_only=True)
        return state(module)

    whole = run()
    resumed = run(tmp_path / "2.ckpt")
    assert all(torch.equal(tensor, resumed[key]) for key, tensor in whole.items())


class TestWhatIsRefused:
    """Before training: what a step weighting cannot do."""

    surgery = staticmethod(partial(MAKE["pcgrad"]))
    fine: dict[str, Any] = {"idle_heads": False, "precision": "32-true"}  # noqa: RUF012

    @pytest.mark.parametrize("name", MAKE)
    def test_nothing_of_a_usual_run(self, name: str) -> None:
        check_possible(MAKE[name](), toy_model(), **self.fine)
        check_possible(MAKE[name](), toy_model(), **{**self.fine, "precision": "bf16-mixed"})

    @pytest.mark.parametrize("name", [*SCHEMES, "gradnorm", "geometric", "famo"])
    def test_steps_that_leave_tasks_out(self, name: str) -> None:
        with pytest.raises(ConfigError, match=r"every task in every step; found step=alternate"):
            check_possible(MAKE[name](), toy_model(), **{**self.fine, "idle_heads": True})

    def test_losses_are_weighed_in_alternate_steps(self) -> None:
        for name in ("fixed", "log_classes", "uncertainty", "dwa", "random"):
            check_possible(MAKE[name](), toy_model(), **{**self.fine, "idle_heads": True})

    def test_a_frozen_encoder(self) -> None:
        frozen = toy_model(freezer=Freezer(FreezeEncoder()))
        assert frozen.freezer is not None
        frozen.freezer.apply(frozen, 0)
        with pytest.raises(ConfigError, match="shared parameters that learn, and the freeze or"):
            check_possible(self.surgery(), frozen, **self.fine)
        check_possible(MAKE["geometric"](), frozen, **self.fine)

    def test_a_single_task(self) -> None:
        alone = GradientWeighting(["mood"], scheme=gram.mgda)
        with pytest.raises(ConfigError, match=r"two or more tasks.*found \['mood'\]"):
            check_possible(alone, toy_model(), **self.fine)

    def test_float16(self) -> None:
        with pytest.raises(ConfigError, match=r"found trainer\.precision=16-mixed"):
            check_possible(self.surgery(), toy_model(), **{**self.fine, "precision": "16-mixed"})

    def test_what_thaws_later_is_shared_then(self) -> None:
        later = toy_model(freezer=Freezer(Gradual(), steps_per_epoch=10))
        check_possible(self.surgery(), later, **{**self.fine, "total_steps": 11})
        with pytest.raises(ConfigError, match="shared parameters that learn"):
            check_possible(self.surgery(), later, **{**self.fine, "total_steps": 9})

    def test_adapters_of_their_own_share_nothing(self) -> None:
        apart = toy_model()
        Lora(per_task=True).attach(apart.encoder, list(apart.heads))
        with pytest.raises(ConfigError, match="or the adapter option leaves none"):
            check_possible(self.surgery(), apart, **self.fine)
