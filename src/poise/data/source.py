"""A source of labelled images, or of text: what it must offer, and how one is found for what the user passed."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from torch import Tensor

from poise import registries
from poise.data.images import Images
from poise.data.labels import ClassIds, Labels
from poise.data.sample_source import SampleSource
from poise.data.split_source import SplitSource
from poise.data.text import TextSource
from poise.errors import Refused
from poise.named import FROM_PYTHON, no_data, path_of
from poise.registry import Registry


@runtime_checkable
class Source(Protocol):
    """Labelled images in splits, "train" and perhaps "test".

    Loading is lazy: a split is first opened when its labels or images are asked for, and only the images asked for are
    decoded. That a search never touches the test split rests on this.
    """

    name: str
    names: tuple[str, ...]  # of the classes, or of the quantities

    def has(self, split: str) -> bool:
        """Whether there is a split of this name. Opens nothing."""
        ...

    def labels(self, split: str) -> Tensor:
        """The labels of a split, ``[n, ...]``; see `poise.data.labels`. Raises `Refused` if there is no such split."""
        ...

    def load(self, split: str, indices: Tensor | None = None, size: int | None = None) -> Images:
        """The images of a split, or those at ``indices: [k]`` (int64), resized to ``size`` x ``size`` if given.

        Raises `Refused` if there is no such split, an image cannot be read, or sizes differ and no ``size`` is given.
        """
        ...


class SourceKind(Protocol):
    """A kind of source: a class in ``poise.data.sources``, registered by name, that says what it can open."""

    form: str  # what a person writes to get it: "digits", "hf:owner/name", ...

    def matches(self, spec: object) -> bool:
        """Whether this kind is meant by ``spec``. At most one kind is."""
        ...

    def open(self, spec: object, labels: Labels) -> Source | SampleSource | TextSource:
        """The source that ``spec`` means, with such labels. Raises `Refused` if it is missing or malformed."""
        ...


SOURCES: Registry[SourceKind] = registries.SOURCES

CLASS_IDS = ClassIds()


def open_source(spec: object, labels: Labels = CLASS_IDS, *, skip_bad_images: bool = False) -> Source:
    """The source that ``spec`` means, with labels of the kind that is asked for.

    ``spec`` is a string (``"digits"``, ``"hf:owner/name"`` or a path), a path to a ``.npz`` file, a ``.parquet`` file,
    a folder of parquet files or a folder of class folders, a torch ``Dataset``, `Images`, a pair ``(train, test)`` of
    either, or a `Source` already. Where files have no test split, a fifth of the images, stratified and always the
    same, is held out as one. Raises `Refused` with the forms that exist.

    An image that cannot be read is refused by name when it is loaded. With ``skip_bad_images`` it is left out instead,
    and listed in the source's ``skipped`` as ``(name, reason)``; to find such images, each is decoded once more.

    >>> open_source("digits").load("train").size
    (8, 8)
    """
    source = open_data(spec, labels, skip_bad_images=skip_bad_images)
    if isinstance(source, TextSource | SampleSource):
        kind = "text" if isinstance(source, TextSource) else source.described
        raise Refused(f"{source.name} is {kind}, expected images")
    return source


def open_data(
    spec: object, labels: Labels = CLASS_IDS, *, skip_bad_images: bool = False
) -> Source | SampleSource | TextSource:
    """As `open_source`; opened too are text, a folder of text files or a `TextSource`, and samples that are no images:
    arrays, or a torch ``Dataset`` of them."""
    try:
        source = _opened(spec, labels)
    except OSError as error:  # no permission, a name too long, ...
        raise Refused(f"cannot read {spec!s:.80}: {error.strerror or error}") from None
    if not skip_bad_images:
        return source
    if isinstance(source, SampleSource):
        raise Refused(f"skip_bad_images is for images, and {source.name} is {source.described}")
    if not isinstance(source, SplitSource):
        raise Refused(f"skip_bad_images cannot be used with a source of your own ({type(source).__name__})")
    return source.without_bad_images()


def _opened(spec: object, labels: Labels) -> Source | SampleSource | TextSource:
    if isinstance(spec, SplitSource | SampleSource) and type(spec.reading) is not type(labels):
        raise Refused(f"{spec.name} was opened for {spec.reading.what}, expected {labels.what}: pass its task")
    if isinstance(spec, Source | SampleSource | TextSource):
        return spec
    kind = _kind_of(spec)
    if kind is not None:
        return kind.open(spec, labels)
    forms = [kind.form for kind in SOURCES.values()]
    raise no_data(spec, forms)


def source_name(spec: object) -> str:
    """What a configuration says of data: `FROM_PYTHON` for what is neither text nor a path; a path that exists as an
    absolute one, so that the run can be used from anywhere."""
    if not isinstance(spec, str | Path):
        return FROM_PYTHON
    path = path_of(spec)
    assert path is not None
    try:
        if not path.exists():
            return str(spec)
        here = str(path.resolve())
    except (OSError, ValueError):  # no file can have that name
        return str(spec)
    # A folder that is called like a source is not meant by its name alone.
    return here if _kind_of(here) is _kind_of(spec) else str(spec)


def _kind_of(spec: object) -> SourceKind | None:
    return next((kind for kind in SOURCES.values() if kind.matches(spec)), None)
