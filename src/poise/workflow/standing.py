"""Where a run stands that is in a folder already, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from poise.config.reading import read_yaml
from poise.engine.lock import worker
from poise.engine.run import SELECTION, RunFolder
from poise.errors import Refused
from poise.named import FROM_PYTHON


def check_free(path: Path, overwrite: bool) -> None:
    """Raise `Refused` if a new run may not be put here; the way that loses nothing is named first. Touches nothing."""
    kind = RunFolder.kind_of(path)
    if kind is None or overwrite:
        RunFolder.check(path, overwrite)
        return
    owner = worker(path)
    if owner is not None:
        raise Refused(f"{path} already holds a run, which process {owner} works on; wait for it, or choose another")
    raise Refused(
        f"{path} already holds a run, {_standing(RunFolder(path), kind)}, choose another folder, or replace the run "
        "with --overwrite"
    )


def _standing(run: RunFolder, kind: str) -> str:
    """Where it stopped, and the next step."""
    search = kind == "search"
    if (run.path / ("genotype.json" if search else "result.json")).is_file():
        if (run.path / SELECTION).is_file():
            return f"whose selection was stopped earlier; go on with poise resume {run.path}"
        found, then = ("search", "train") if search else ("training", "evaluate")
        return f"a finished {found}; look at it with poise show {run.path}, go on with poise {then} {run.path}"
    config = read_yaml(run.path / "config.yaml")
    done, epochs = len(run.history()), _setting(config, kind, "epochs")
    place = "while it was selecting" if search and done == epochs else f"at epoch {done + 1} of {epochs}"
    python = _setting(config, "data", "source") == FROM_PYTHON
    resume = f"poise.resume({str(run.path)!r}, data=...)" if python else f"poise resume {run.path}"
    return f"stopped earlier {place}; go on with {resume}"


def _setting(config: dict[str, Any], section: str, name: str) -> Any:
    values = config.get(section)
    return values.get(name) if isinstance(values, dict) else None
