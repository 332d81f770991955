"""The model card of a network on the Hub: metadata that its site reads, and what a person should know."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from typing import Any

from poise.errors import Refused
from poise.report.readable_numbers import parts

TEMPLATE = "model_card.md.j2"
SHOWN = 50
"""Names of classes that a card lists."""


@dataclass(frozen=True)
class ModelCard:
    """What a card tells.

    Args:
        repository: ``owner/name``.
        title, summary: what the network is.
        picture: the file that shows the architecture, beside the card; empty: there is none.
        results: what was measured, for a person.
        tested: whether that was on a test split.
        metrics: of the test split, by name.
        space, method, genotype: how the architecture was found, and what it is; an empty method is not known.
        data: what it was trained on, in words.
        dataset: its name on the Hub; empty: it is not there.
        named, names: what it tells apart, such as ``classes``.
        takes: what goes into it, in words; empty: that takes its code.
        predicts: whether ``poise predict`` takes it.
        own: whether loading it takes a module of its owner's.
        pipeline: the Hub's name for what it is for; empty: it has none.
        licence: the Hub's name for its licence; empty: it was not stated.
        citations: of poise, and of the method.
    """

    repository: str
    title: str
    summary: str
    picture: str
    results: Sequence[tuple[str, str]]
    tested: bool
    metrics: Mapping[str, float]
    space: str
    method: str
    genotype: str
    data: str
    dataset: str
    named: str
    names: str
    takes: str
    predicts: bool
    own: bool
    pipeline: str
    licence: str
    citations: Sequence[str]

    def text(self) -> str:
        """The card, which the Hub's own library has read back."""
        from huggingface_hub import ModelCard as Card
        from jinja2 import Environment, StrictUndefined

        environment = Environment(
            autoescape=False,
            undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
        )  # fmt: skip
        environment.filters["text"] = escaped
        template = environment.from_string(
            files("poise.report").joinpath("templates", TEMPLATE).read_text(encoding="utf-8")
        )
        values = asdict(self) | {"genotype": self.genotype.replace("`", "'")}
        content = f"---\n{self._metadata().to_yaml()}\n---\n\n{template.render(values)}"
        try:
            Card(content)  # raises for metadata that are none
        except ValueError as error:
            raise Refused(f"the Hub would not take this card: {error}") from None
        return content

    def _metadata(self) -> Any:
        from huggingface_hub import EvalResult, ModelCardData

        data = self.dataset or self.data
        results = [
            EvalResult(
                task_type=self.pipeline or "other", dataset_type=self.dataset or re.sub(r"\W+", "-", data).lower(),
                dataset_name=data, dataset_split="test", metric_type=name, metric_value=value,
            )
            for name, value in self.metrics.items()
        ]  # fmt: skip
        return ModelCardData(
            library_name="poise", license=self.licence or None, pipeline_tag=self.pipeline or None,
            tags=["neural-architecture-search", "pytorch", "poise", self.space],
            datasets=[self.dataset] if self.dataset else None, model_name=self.title, eval_results=results or None,
        )  # fmt: skip


def escaped(text: object) -> str:
    """A text in Markdown: one line of what it says and nothing else, also in a table."""
    line = " ".join(str(text).split())
    return re.sub(r"([\\`*_\[\]<>|#!&~$])", lambda found: f"&#{ord(found[1])};", line)


def of_test(result: Mapping[str, float]) -> dict[str, float]:
    """The metrics of the test split in a result, those of single classes and the loss aside."""
    found = {parts(name)[1]: value for name, value in result.items() if parts(name)[0] == "test" and "/" not in name}
    return {name: value for name, value in found.items() if name != "loss"}
