"""What all tests share: no figure is rendered."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from unrendered import FIGURE, TEXT, Rough, blank


@pytest.fixture(scope="module", autouse=True)
def unrendered() -> Iterator[None]:
    """Every figure is an empty picture. A folder or a module that needs the real ones overrides this fixture."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FIGURE, blank)
        patch.setattr(TEXT, Rough)
        yield
