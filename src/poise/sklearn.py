"""scikit-learn's estimators on top of a search: `PoiseClassifier` and `PoiseRegressor`, for tables and for images.

``import poise`` does not import this; say ``import poise.sklearn``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor, nn

from poise.data.labels import Labels
from poise.data.parts import TensorPart
from poise.data.sample_source import SampleSource, read_split
from poise.data.split_source import SplitSource
from poise.engine.events import ignore
from poise.engine.streams import seeded
from poise.errors import Refused
from poise.named import DEFAULT_METHOD, DEFAULT_SPACE
from poise.supernet.choice import Choice
from poise.tasks.classification import Classification
from poise.tasks.regression import Regression
from poise.tasks.supervised import Supervised
from poise.workflow.retrain import train
from poise.workflow.search import search

Build: TypeAlias = Callable[[int, int], nn.Module]
"""Features and outputs to a module with `poise.Choice` layers."""

LEAST = 4
"""Rows that a search takes: two for each half."""
FEW = 2**12
"""Rows that are predicted at a time."""


class Table(nn.Module):
    """Rows of numbers to outputs, with a choice of everything: ``x ← x + act(body(norm(x)))`` in each block.

    Args:
        features, outputs: numbers of a row, and of what comes out.
        width: of what goes from block to block.
        blocks: how many; the search may leave any of them out.
    """

    def __init__(self, features: int, outputs: int, width: int = 64, blocks: int = 2) -> None:
        super().__init__()
        self.stem = nn.Linear(features, width)
        self.norms = nn.ModuleList(self._norm(width) for _ in range(blocks))
        self.bodies = nn.ModuleList(self._body(width) for _ in range(blocks))
        self.acts = nn.ModuleList(self._act() for _ in range(blocks))
        self.head = nn.Linear(width, outputs)

    @staticmethod
    def _norm(width: int) -> Choice:
        return Choice({"plain": nn.Identity(), "layer": nn.LayerNorm(width)}, group="norm")

    @staticmethod
    def _body(width: int) -> Choice:
        def through(inner: int) -> nn.Module:
            return nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width))

        return Choice({"skip": Nothing(), "narrow": through(max(1, width // 2)), "wide": through(2 * width)})

    @staticmethod
    def _act() -> Choice:
        return Choice({"relu": nn.ReLU(), "tanh": nn.Tanh(), "gelu": nn.GELU()}, group="act")

    def forward(self, rows: Tensor) -> Tensor:
        x = self.stem(rows)
        for norm, body, act in zip(self.norms, self.bodies, self.acts, strict=True):
            x = x + act(body(norm(x)))
        outputs: Tensor = self.head(x)
        return outputs


class Nothing(nn.Module):
    """Zeros: what a block adds that is left out."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)


class _Estimator(BaseEstimator, ABC):  # type: ignore[misc]
    """What both share. A fit searches an architecture on two halves of the rows, then trains it on all of them.

    Args:
        space: for images, the name of a space. For tables, ``(features, outputs) -> module``, where the module has
            `poise.Choice` layers, such as ``functools.partial(Table, width=128)``. None: ``darts``, and `Table`.
        method: a name of ``poise list methods``, or a value.
        preset: ``demo``, ``small`` or ``paper``.
        search_epochs, epochs: of the search and of the training; None: as the preset says.
        batch_size: rows in a batch; fewer where there are not as many.
        settings: more of them, by dotted names, as in `poise.search`.
        random_state: as everywhere in scikit-learn. The same number gives the same network on a CPU.
        device: as in `poise.search`.
        verbose: whether progress is shown.

    Attributes:
        genotype_: the architecture that was found.
        network_: the trained network, for `poise.export` and the like.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.
    """

    def __init__(
        self,
        *,
        space: str | Build | None = None,
        method: Any = DEFAULT_METHOD,
        preset: str = "demo",
        search_epochs: int | None = None,
        epochs: int | None = None,
        batch_size: int = 64,
        settings: Mapping[str, Any] | None = None,
        random_state: Any = None,
        device: str = "auto",
        verbose: bool = False,
    ) -> None:
        self.space = space
        self.method = method
        self.preset = preset
        self.search_epochs = search_epochs
        self.epochs = epochs
        self.batch_size = batch_size
        self.settings = settings
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    @property
    @abstractmethod
    def _task(self) -> Supervised: ...

    def _searched(self, rows: Any, targets: Any, outputs: int) -> Self:
        if len(rows) < LEAST:
            raise ValueError(f"n_samples={len(rows)}, expected at least {LEAST}: a search divides them into two halves")
        seed = int(check_random_state(self.random_state).randint(2**31))
        inputs = _images(rows) if rows.ndim > 2 else torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float32))
        data = _source(inputs, targets, self._task.labels)
        given = {
            "search.epochs": self.search_epochs, "train.epochs": self.epochs,
            "search.batch_size": min(self.batch_size, len(rows) // 2),
            "train.batch_size": min(self.batch_size, len(rows)),
        }  # fmt: skip
        settings = {name: value for name, value in given.items() if value is not None} | dict(self.settings or {})
        shared: dict[str, Any] = {"listen": None if self.verbose else ignore}
        how = {"method": self.method, "preset": self.preset, "seed": seed, "device": self.device, "task": self._task}
        if rows.ndim > 2:
            name = DEFAULT_SPACE if self.space is None else self.space
            if not isinstance(name, str):
                raise Refused(f"X is images, whose space is a name, got {name!r:.60}")
            found = search(data, space=name, settings=settings, **how, **shared)
        else:
            build = Table if self.space is None else self.space
            if not callable(build):
                raise Refused(f"X is a table, whose space is (features, outputs) -> module, got {build!r:.60}")
            with seeded(seed, torch.device("cpu")):
                module = build(rows.shape[1], outputs)
            found = search(module, data, settings=settings, **how, **shared)
        self.genotype_ = found.genotype
        self.network_: Any = train(found, data, **shared)
        return self

    def _outputs(self, X: Any) -> Any:
        """What the network puts out, finished, for rows ``[n, ...]``. Of a table in double precision, so that a row's
        does not depend on those beside it."""
        check_is_fitted(self)
        rows = validate_data(self, X, reset=False, allow_nd=True)
        if rows.ndim > 2:
            inputs, place = _images(rows), (self.device, "32")
        else:
            inputs, place = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.float64)), ("cpu", "64")
        ready, finish = self.network_.predictor(*place), self.network_.task.finish(self.network_.seen)
        found = [ready.forward(batch.inputs) for batch in ready.intake.batches(inputs, FEW)]
        outputs = torch.cat(found).double()
        return (outputs if finish is None else finish.double()(outputs)).numpy()


class PoiseClassifier(ClassifierMixin, _Estimator):  # type: ignore[misc]
    __doc__ = f"""One class for each row of a table, or for each image.

    ``X`` is ``[n, features]``, or images ``[n, height, width]`` or ``[n, height, width, channels]`` (8-bit values, or
    floats); ``y`` is ``[n]``, of any labels. {(_Estimator.__doc__ or "").partition("What both share. ")[2]}
        classes_: the labels, in the order of the columns of `predict_proba`.
    """

    _task = Classification()

    def fit(self, X: Any, y: Any) -> Self:
        """Search a network for these rows and train it."""
        X, y = validate_data(self, X, y, allow_nd=True)
        check_classification_targets(y)
        self.classes_, targets = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("y has 1 class, expected at least two")
        return self._searched(X, targets, len(self.classes_))

    def predict_proba(self, X: Any) -> Any:
        """The probability of each class, ``[n, classes]``."""
        logits = self._outputs(X)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return shares / shares.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> Any:
        """The likeliest class of each row."""
        found = self.predict_proba(X).argmax(axis=1)
        return self.classes_[found]


class PoiseRegressor(RegressorMixin, _Estimator):  # type: ignore[misc]
    __doc__ = f"""A number for each row of a table, or for each image.

    ``X`` is as for `PoiseClassifier`; ``y`` is ``[n]``. {(_Estimator.__doc__ or "").partition("What both share. ")[2]}
    """

    _task = Regression()

    def fit(self, X: Any, y: Any) -> Self:
        """Search a network for these rows and train it."""
        X, y = validate_data(self, X, y, allow_nd=True, y_numeric=True)
        return self._searched(X, np.asarray(y, dtype=np.float64), 1)

    def predict(self, X: Any) -> Any:
        """The number of each row."""
        return self._outputs(X).reshape(-1)


def _images(rows: Any) -> Tensor:
    """``[n, channels, height, width]``, 8-bit values as they are and others as floats."""
    values = torch.from_numpy(np.ascontiguousarray(rows))
    values = values if values.dtype == torch.uint8 else values.float()
    return values[:, None] if values.ndim == 3 else values.permute(0, 3, 1, 2).contiguous()


def _source(inputs: Tensor, targets: Any, labels: Labels) -> SplitSource | SampleSource:
    """All of it to train on: whoever fits an estimator holds back for himself."""
    read = read_split(inputs, targets, labels, (), "X")
    if inputs.ndim > 2:
        return SplitSource("X", labels, (), TensorPart("X", read.labels, inputs.__getitem__))
    return SampleSource("X", labels, (), read)
