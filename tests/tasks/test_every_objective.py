"""What every objective keeps: it adds up, its meters go on as if they had never stopped, and it can be descended."""

from __future__ import annotations

import pytest
import torch
from objectives_support import CASES, PARTS, Case, in_parts

from poise.engine.checkpoint import decode, encode
from poise.engine.objective import Meter
from poise.errors import Refused

every = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@every
def test_batches_of_unequal_size_measure_as_all_at_once(case: Case) -> None:
    expected = in_parts(case, [11])
    assert in_parts(case) == pytest.approx(expected, rel=1e-12)
    assert next(iter(expected)) == case.objective.metric.name
    assert expected["loss"] == pytest.approx(float(case.objective.loss(case.outputs, case.targets)), rel=1e-12)


@every
def test_the_sum_is_the_mean_times_the_count(case: Case) -> None:
    for outputs, targets in zip(case.outputs.split(PARTS), case.targets.split(PARTS), strict=True):
        mean, sum_ = (case.objective.loss(outputs, targets, how) for how in ("mean", "sum"))  # type: ignore[arg-type]
        assert float(sum_) == pytest.approx(float(mean) * float(case.objective.count(targets)), rel=1e-12)


@every
def test_the_running_metric_is_the_one_that_counts(case: Case) -> None:
    running, name = case.objective.running(), case.objective.metric.name
    running.update(case.outputs, case.targets)
    assert running.compute()[name] == in_parts(case, [11])[name]


def ready(meter: Meter, case: Case, first: int, last: int) -> Meter:
    for part in range(first, last):
        meter.update(case.outputs.split(PARTS)[part], case.targets.split(PARTS)[part])
    return meter


@every
@pytest.mark.parametrize("kind", ["running", "meter"])
@pytest.mark.parametrize("stop", range(4))
def test_a_meter_goes_on_after_a_checkpoint_to_the_bit(case: Case, kind: str, stop: int) -> None:
    fresh = getattr(case.objective, kind)
    expected = ready(fresh(), case, 0, 3).compute()
    saved = decode(encode({"meter": ready(fresh(), case, 0, stop).state()}))
    resumed = fresh()
    resumed.restore(saved.get("meter", {}))
    assert ready(resumed, case, stop, 3).compute() == expected
    assert fresh().compute() == {}


@every
def test_a_loss_has_a_gradient_and_measuring_leaves_none(case: Case) -> None:
    outputs = case.outputs.clone().requires_grad_()
    meter = case.objective.meter()
    meter.update(outputs, case.targets)
    meter.compute()
    (gradient,) = torch.autograd.grad(case.objective.loss(outputs, case.targets), [outputs])
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0


@every
def test_outputs_of_another_shape_are_refused(case: Case) -> None:
    case.objective.check(case.outputs, case.targets)
    with pytest.raises(Refused, match="expected"):
        case.objective.check(case.outputs[:-1], case.targets)
    with pytest.raises(Refused, match="expected"):
        case.objective.check({"outputs": case.outputs}, case.targets)
