"""The notebooks under examples/ run from top to bottom, draw something, and are stored without outputs."""

from __future__ import annotations

import os
import re
from pathlib import Path

import nbformat
import pytest
from docs_support import ROOT
from nbclient import NotebookClient

NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_runs(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is drawn, and what a cell ends in."""
    for name, value in {"OMP_NUM_THREADS": "1", "IPYTHONDIR": str(tmp_path), "TMPDIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(file, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    data = [output.data for output in outputs if "data" in output]
    drawn = " ".join(each["text/html"] for each in data if "text/html" in each)
    assert "<svg" in drawn or any("image/svg+xml" in each for each in data), "the cells"
    assert "epoch" in drawn, "the progress"


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_is_stored_clean(file: Path) -> None:
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None
        for link in re.findall(r"\]\(([^)#\s]+)\)", cell.source if cell.cell_type == "markdown" else ""):
            assert link.startswith("https://") or (file.parent / link).is_file(), link
    assert notebook.cells[0].source.splitlines()[2].startswith("After this notebook you can ")


def test_there_are_two() -> None:
    assert {file.stem for file in NOTEBOOKS} == {"images_to_onnx", "new_method"}
