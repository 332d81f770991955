"""Labels as values: what they read, what they refuse, what is known of them afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from poise.data.labels import ClassIds, Labels, Seen
from poise.errors import Refused


def line(call: Callable[[], Any]) -> str:
    """What a refusal says; one line."""
    with pytest.raises(Refused) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_class_ids() -> None:
    labels: Labels = ClassIds()
    read = labels.read([[0], [2], [1], [2]], "x")
    assert (read.dtype, read.tolist()) == (torch.int64, [0, 2, 1, 2])
    assert labels.names(read, (), "x") == ("0", "1", "2")
    assert labels.names(read, ["a", "b", "c"], "x") == ("a", "b", "c")
    assert torch.equal(labels.strata(read), read)
    assert labels.seen(read, ("a", "b", "c", "d")) == Seen(tuple("abcd"), {"count": (1.0, 1.0, 2.0, 0.0)})
    assert not labels.dense
    assert "two classes named 'a'" in line(lambda: labels.names(read, ("a", "a", "b"), "x"))


def test_what_is_known_of_labels_survives_json() -> None:
    seen = Seen(("a", "b"), {"count": (3.0, 1.0), "mean": (0.1, -2.5)})
    assert Seen.of(json.loads(json.dumps(seen.facts))) == seen
    assert Seen.of(json.loads(json.dumps(Seen(("a",)).facts))) == Seen(("a",))


@pytest.mark.parametrize(
    "facts",
    [
        None,
        3,
        [],
        {},
        {"names": ["a"]},
        {"names": 3, "statistics": {}},
        {"names": [3], "statistics": {}},
        {"names": ["a"], "statistics": []},
        {"names": ["a"], "statistics": {"count": [1, 2]}},
        {"names": ["a"], "statistics": {"count": ["many"]}},
        {"names": ["a"], "statistics": {"count": 3}},
    ],
)
def test_damaged_knowledge_is_refused(facts: Any) -> None:
    assert "does not say what labels are" in line(lambda: Seen.of(facts))
