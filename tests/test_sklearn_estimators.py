"""`poise.sklearn` keeps scikit-learn's contract, and its networks say what its estimators say."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

import poise
from full import FULL
from poise.errors import Refused
from poise.sklearn import PoiseClassifier, PoiseRegressor, Table

SMALL: dict[str, Any] = {
    "space": partial(Table, width=16, blocks=1), "method": "darts", "search_epochs": 1, "epochs": 6, "random_state": 0,
    "device": "cpu", "settings": {"train.weights.learning_rate": 0.1},
}  # fmt: skip
IRIS, DIABETES = load_iris(return_X_y=True), load_diabetes(return_X_y=True)
PART = 6
"""Of a sample, one check in so many."""


def checks() -> list[Any]:
    """Every check of scikit-learn's of both estimators. Array libraries that it can do without are left out."""
    found = [
        pytest.param(estimator, check, id=f"{type(estimator).__name__}-{check.func.__name__}")
        for estimator in (PoiseClassifier(**SMALL), PoiseRegressor(**SMALL))
        for estimator, check in estimator_checks_generator(estimator)
        if "array_api" not in check.func.__name__
    ]
    quick = ("no_attributes_set", "nan_inf", "classifiers_train", "pickle", "subset_invariance", "regressors_train")
    kept = {index for index, each in enumerate(found) if any(name in str(each.id) for name in quick)}
    return found if FULL else [each for index, each in enumerate(found) if index in kept or index % PART == 0]


@pytest.mark.parametrize(("estimator", "check"), checks())
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def test_a_classifier_says_what_its_network_says() -> None:
    names = np.array(["setosa", "versicolor", "virginica"])[IRIS[1]]
    model = PoiseClassifier(**SMALL | {"epochs": 20}).fit(IRIS[0], names)
    assert list(model.classes_) == ["setosa", "versicolor", "virginica"]
    assert model.score(IRIS[0], names) > 0.9
    logits = model.network_.complete(torch.from_numpy(IRIS[0]).float())
    assert model.predict_proba(IRIS[0]) == pytest.approx(logits.softmax(dim=1).detach().numpy(), abs=1e-5)
    assert list(model.predict(IRIS[0])) == [model.classes_[index] for index in logits.argmax(dim=1)]
    assert model.network_.result.keys() == {"parameters", "macs"}, "nothing was measured on what it was trained on"
    assert set(model.genotype_.choices) == {"norm", "act", "bodies.0"}


def test_a_regressor_answers_in_the_targets_own_units() -> None:
    model = PoiseRegressor(**SMALL | {"epochs": 20}).fit(*DIABETES)
    assert model.score(*DIABETES) > 0.4
    found = model.network_.complete(torch.from_numpy(DIABETES[0]).float()).detach().numpy().ravel()
    assert model.predict(DIABETES[0]) == pytest.approx(found, rel=1e-4)
    assert 100 < model.predict(DIABETES[0]).mean() < 200


def test_the_random_state_decides(tmp_path: Path) -> None:
    first, again, other = (PoiseClassifier(**SMALL | {"random_state": seed}).fit(*IRIS) for seed in (1, 1, 2))
    assert np.array_equal(first.predict_proba(IRIS[0]), again.predict_proba(IRIS[0]))
    assert not np.array_equal(first.predict_proba(IRIS[0]), other.predict_proba(IRIS[0]))
    images, tiny = np.zeros((20, 8, 8), np.uint8), {"space.channels": 2, "space.cells": 1, "train.channels": 2}
    form = SMALL | {"space": "nasbench201", "settings": tiny | {"train.cells": 1}, "epochs": 1}
    one, two = (PoiseClassifier(**form | {"random_state": n}).fit(images, np.arange(20) % 2) for n in (1, 2))
    assert not np.array_equal(one.predict_proba(images), two.predict_proba(images))
    joblib.dump(first, tmp_path / "model.joblib")
    loaded = joblib.load(tmp_path / "model.joblib")
    assert np.array_equal(first.predict_proba(IRIS[0]), loaded.predict_proba(IRIS[0]))
    kept = {name: value for name, value in first.get_params().items() if name != "space"}
    assert {name: value for name, value in clone(first).get_params().items() if name != "space"} == kept


def test_it_works_inside_a_pipeline_and_a_grid_search() -> None:
    pipeline = make_pipeline(StandardScaler(), PoiseClassifier(**SMALL))
    widths = [partial(Table, width=width, blocks=1) for width in (4, 16)]
    grid = GridSearchCV(pipeline, {"poiseclassifier__space": widths}, cv=2).fit(*IRIS)
    assert grid.best_score_ > 0.5
    assert grid.best_params_["poiseclassifier__space"] in widths


@pytest.mark.parametrize("form", ["grey", "colour", "floats"])
def test_images(form: str) -> None:
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8)[:80] * 15
    images = {
        "grey": images.astype(np.uint8), "colour": np.stack([images.astype(np.uint8)] * 3, axis=3), "floats": images
    }[form]  # fmt: skip
    tiny = {"space.channels": 2, "space.cells": 1, "train.channels": 2, "train.cells": 1}
    model = PoiseClassifier(**SMALL | {"space": "nasbench201", "settings": tiny, "epochs": 1}).fit(images, labels[:80])
    assert model.predict_proba(images).shape == (80, 10)
    assert model.genotype_.space == "nasbench201"
    shape = model.network_.shape
    assert (shape.channels, shape.size) == (3 if form == "colour" else 1, (8, 8))
    pixels = torch.from_numpy(images).float() / (1 if form == "floats" else 255)
    pixels = pixels[:, None] if form != "colour" else pixels.permute(0, 3, 1, 2)
    expected = model.network_.complete(pixels).softmax(dim=1).detach().numpy()
    assert model.predict_proba(images) == pytest.approx(expected, abs=1e-4)


def test_what_does_not_fit_is_refused_in_a_line() -> None:
    with pytest.raises(Refused, match=r"^X is a table, whose space is \(features, outputs\) -> module, got 'darts'$"):
        PoiseClassifier(**SMALL | {"space": "darts"}).fit(*IRIS)
    with pytest.raises(Refused, match=r"^X is images, whose space is a name, got functools.partial"):
        PoiseClassifier(**SMALL).fit(np.zeros((20, 8, 8), np.uint8), np.arange(20) % 2)
    with pytest.raises(ValueError, match=r"^n_samples=3, expected at least 4"):
        PoiseRegressor(**SMALL).fit(DIABETES[0][:3], DIABETES[1][:3])
    with pytest.raises(Refused, match="unknown method 'drats'"):
        PoiseClassifier(**SMALL | {"method": "drats"}).fit(*IRIS)
    with pytest.raises(TypeError, match="sample_weight"):
        PoiseClassifier(**SMALL).fit(*IRIS, sample_weight=np.ones(150))


def test_a_block_that_is_left_out_adds_nothing() -> None:
    table = Table(4, 2, width=8, blocks=2)
    rows = torch.randn(3, 4)
    choices = {"norm": {"choice": ("layer",)}, "act": {"choice": ("tanh",)}}
    choices |= {f"bodies.{index}": {"choice": ("skip",)} for index in range(2)}
    made = poise.spaces.custom.with_choices_made(table, poise.Genotype("custom", choices))
    assert torch.equal(made(rows), table.head(table.stem(rows)))
    choices["bodies.1"] = {"choice": ("wide",)}
    made = poise.spaces.custom.with_choices_made(table, poise.Genotype("custom", choices))
    stem = table.stem(rows)
    wide = table.bodies[1].candidates["wide"]
    expected = table.head(stem + torch.tanh(wide(torch.nn.functional.layer_norm(stem, (8,)))))
    assert torch.allclose(made(rows), expected, atol=1e-6)


def test_it_is_named_but_in_no_list() -> None:
    """What imports every listed name, tests/test_startup.py does, imports no scikit-learn."""
    assert poise.sklearn.PoiseClassifier is PoiseClassifier
    assert "sklearn" not in poise.__all__
