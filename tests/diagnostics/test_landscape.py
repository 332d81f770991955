"""The landscape: its centre, its directions, and the curvature that it shows, in float64."""

from __future__ import annotations

import pytest
import torch
from diagnostics_support import alphas_of, loss_by_hand, smooth_searcher

from poise.diagnostics.diagnostic import Finding, Subject, Surface
from poise.diagnostics.landscape import Landscape, orthonormal, surface
from poise.errors import Refused


def measured(radius: float, points: int = 5) -> tuple[Subject, Finding]:
    subject = Subject(smooth_searcher())
    return subject, Landscape(points, radius)(subject)


def test_the_centre_is_the_loss_and_every_point_is_where_it_says() -> None:
    subject, finding = measured(1.0)
    at = alphas_of(subject.searcher)
    centre = float(loss_by_hand(subject.searcher, 2, at))
    assert finding.numbers["landscape/loss"] == pytest.approx(centre, rel=1e-12)
    eigen = finding.surfaces[1]
    assert eigen.steps == pytest.approx([-(5**0.5), -(5**0.5) / 2, 0, 5**0.5 / 2, 5**0.5])
    pair = orthonormal(subject.spectrum.vectors[:, :2])
    for i, j in ((0, 3), (4, 1), (2, 2)):
        point = at + eigen.steps[i] * pair[:, 0] + eigen.steps[j] * pair[:, 1]
        assert eigen.losses[i][j] == pytest.approx(float(loss_by_hand(subject.searcher, 2, point)), rel=1e-12)
    for plane in finding.surfaces:
        assert finding.numbers[f"landscape/rise/{plane.name}"] == max(map(max, plane.losses)) - centre


def test_slices_along_eigenvectors_have_their_curvature() -> None:
    """``L(a) = L(0) + g·a + ½λa² + O(a³)``."""
    subject, finding = measured(0.01)
    plane = finding.surfaces[1]
    gradient = subject.loss.gradient(subject.loss.point)
    pair = orthonormal(subject.spectrum.vectors[:, :2])
    for values, direction, curvature in zip(plane.slices, pair.T, subject.spectrum.values[:2].tolist(), strict=True):
        assert curvature > 0
        for a, value in zip(plane.steps, values, strict=True):
            slope = float(gradient @ direction)
            expected = values[2] + slope * a + curvature * a * a / 2
            assert value == pytest.approx(expected, abs=abs(a) ** 3)
        bend = (values[0] + values[4] - 2 * values[2]) / plane.steps[4] ** 2
        assert bend == pytest.approx(curvature, rel=1e-3)


def test_directions_are_orthonormal_with_a_sign_of_their_own() -> None:
    pair = orthonormal(torch.tensor([[-3.0, 1.0], [0.0, -2.0], [1.0, 0.0]], dtype=torch.float64))
    torch.testing.assert_close(pair.T @ pair, torch.eye(2, dtype=torch.float64))
    assert pair[0, 0] == pytest.approx(3 / 10**0.5)
    assert pair[2, 0] == pytest.approx(-1 / 10**0.5)
    assert pair[1, 1] > 0
    torch.testing.assert_close(pair, orthonormal(-pair))


def test_rows_go_along_the_first_axis() -> None:
    class Plane:
        point = torch.zeros(2, dtype=torch.float64)

        def value(self, at: torch.Tensor) -> float:
            return float(10 * at[0] + at[1])

    found = surface(Plane(), torch.eye(2, dtype=torch.float64), [-1.0, 0.0, 1.0], ("x", "x"), ("a", "b"))  # type: ignore[arg-type]
    assert found.losses == ((-11, -10, -9), (-1, 0, 1), (9, 10, 11))
    assert found.slices == ((-10, 0, 10), (-1, 0, 1))


def test_bad_grids_are_refused() -> None:
    with pytest.raises(Refused, match="odd number of points, at least 3, got 4"):
        Landscape(points=4)
    with pytest.raises(Refused, match="radius of a landscape must be above 0"):
        Landscape(radius=0)


def test_its_figure() -> None:
    from poise.report.landscape import landscape_figure

    steps = (-1.0, 0.0, 1.0)
    plane = Surface(
        "p", "some plane", ("one", "two"), steps, ((3.0, 2.0, 3.0), (1.0, 0.0, float("nan")), (3.0, 2.0, 3.0))
    )
    flat = Surface("q", "flat", ("three", "four"), steps, ((1.0,) * 3,) * 3)
    figure = landscape_figure([plane, flat])
    first, second, last = figure.axes[0], figure.axes[1], figure.axes[-2]
    assert (first.get_xlabel(), first.get_ylabel(), first.get_title("left")) == ("one", "two", "some plane")
    assert second.get_xlabel() == "three"
    curves = {line.get_label(): list(line.get_ydata()) for line in last.lines if not line.get_label().startswith("_")}
    assert curves["one"] == [2.0, 0.0, 2.0]
    assert curves["two"][:2] == [1.0, 0.0]
    assert list(curves) == ["one", "two", "three", "four"]
    with pytest.raises(Refused, match="without a finite loss"):
        landscape_figure([Surface("p", "x", ("a", "b"), steps, ((float("nan"),) * 3,) * 3)])
