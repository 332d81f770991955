"""A run's folder: what it holds, written so that a file is either the old or the new one, never half of either."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from poise.engine.checkpoint import NOWHERE, Checkpoints, State, write_durably
from poise.engine.lock import NAME as LOCK
from poise.errors import Refused
from poise.genotype import Genotype

if TYPE_CHECKING:
    from torch import Tensor

LARGEST_TEXT = 16 * 2**20
"""Bytes of a JSON, genotype or configuration file of a run, looked at before it is read."""
LARGEST_HISTORY = 256 * 2**20
"""Bytes of a history: a record has about 1,000."""
PIECE = 2**16
"""Bytes that are read at once."""
CHECKPOINTS = "checkpoints"
SELECTING = "selecting"
SELECTION = "selection.json"
STAGE = "stage.json"
ADAM = "adam.safetensors"
TABLES = "latency-tables.json"
DIAGNOSIS = "diagnose.json"
DECIDEDNESS = "decidedness.json"
TRACKERS = "trackers.json"
NOTES = "notes.json"
DECISIONS = "decisions.json"
SIZE = "size.json"
DRAWN = "figures/curves.png"
"""What a finished search writes last."""
OWN_FILES = (
    "config.yaml",
    "run.json",
    "history.jsonl",
    "alphas.safetensors",
    "supernet.safetensors",
    ADAM,
    "network.safetensors",
    "network.json",
    "result.json",
    "cost.json",
    "report.html",
    SELECTION,
    STAGE,
    DIAGNOSIS,
    DECIDEDNESS,
    NOTES,
    DECISIONS,
    SIZE,
    TABLES,
    TRACKERS,
)
NOT_BEGUN = {
    LOCK,
    "run.json",
    "genotype.json",
    TABLES,
    *(f".{name}.new" for name in ("run.json", "genotype.json", TABLES, "config.yaml")),
}
"""What a run that was killed before it began leaves at most."""
OWN_FOLDERS = ("figures", "tensorboard", "wandb", CHECKPOINTS, SELECTING)


class RunFolder:
    """The folder of a search (``kind`` "search") or of a retrained network ("train")."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @staticmethod
    def check(path: Path, overwrite: bool) -> None:
        """Raise `Refused` if a new run may not be put here. Touches nothing."""
        try:
            os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise Refused(f"cannot use {path!s:.60} as a folder: {error.strerror}") from None
        if path.is_file():
            raise Refused(f"{path} is a file; a run needs a folder")
        found = {file.name for file in path.iterdir()} if path.is_dir() else set()
        if found <= {LOCK, ".run.json.new"} or ("run.json" in found and found <= NOT_BEGUN):
            return
        if not (path / "run.json").is_file():
            raise Refused(f"{path} holds files that are not a poise run's; choose another folder")
        if not overwrite:
            raise Refused(f"{path} already holds a run; choose another folder, or replace the run with --overwrite")

    @staticmethod
    def create(
        path: Path, kind: str, config: str, data: str, overwrite: bool = False,
        given: Mapping[str, str] | None = None, environment: Mapping[str, str] | None = None,
    ) -> RunFolder:  # fmt: skip
        """Begin a run on the data of this fingerprint, with the files that it is given, in this environment. With
        ``overwrite`` the files of the run that is there go; files of others stay.

        From its first file on the folder is known as a run's; the run has begun once it holds the last one, its
        configuration.
        """
        RunFolder.check(path, overwrite)
        try:
            path.mkdir(parents=True, exist_ok=True)
            for name in OWN_FILES:
                if name != "run.json":
                    (path / name).unlink(missing_ok=True)
            for found in path.glob("genotype*.json"):
                found.unlink()
            for name in OWN_FOLDERS:
                shutil.rmtree(path / name, ignore_errors=True)
        except OSError as error:
            raise Refused(f"cannot write to {path}: {error.strerror}") from None
        run = RunFolder(path)
        about = {"format": "poise.run", "version": 1, "kind": kind, "data": data}
        run.write("run.json", json.dumps(about | ({"environment": dict(environment)} if environment else {})))
        for name, text in (given or {}).items():
            run.write(name, text)
        run.write("config.yaml", config)
        return run

    @staticmethod
    def open(path: Path, kind: str) -> RunFolder:
        """A run that exists. Raises `Refused` if it is none of this kind."""
        run = RunFolder(path)
        if not path.is_dir():
            raise Refused(f"there is no run at {path}")
        found = run.read_json("run.json")
        if found.get("format") != "poise.run" or found.get("version") != 1:
            raise Refused(f"{path}/run.json is not of a run that this poise can read")
        if found.get("kind") != kind:
            raise Refused(f"{path} is the run of a {found.get('kind')!r}, expected a {kind!r}")
        return run

    @staticmethod
    def proceed(path: Path, kind: str, config: str) -> RunFolder:
        """The run to go on with. Raises `Refused` if it was started with other settings than ``config``."""
        run = RunFolder.open(path, kind)
        try:
            before = read_text(path / "config.yaml")
        except (OSError, UnicodeDecodeError):
            raise Refused(f"{path}/config.yaml cannot be read, so the run cannot go on") from None
        pairs = zip_longest(before.splitlines(), config.splitlines(), fillvalue="nothing")
        differ = next(((old, new) for old, new in pairs if old != new and not _same_place(old, new)), None)
        if differ is not None:
            old, new = (line.strip() for line in differ)
            raise Refused(f"{path} was started with other settings ({old}, now {new}); resume it with the same ones")
        return run

    def began_with(self, data: str) -> bool:
        """Whether the run began on the data of this fingerprint, as far as it says."""
        return self.read_json("run.json").get("data", data) == data

    @property
    def environment(self) -> dict[str, str]:
        """Versions, device and threads that the run began with, as far as it says."""
        found = self.read_json("run.json").get("environment", {})
        return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}

    @staticmethod
    def kind_of(path: Path) -> str | None:
        """``search``, ``train``, or None if there is no run, or one that was killed before it began."""
        if not all(os.path.isfile(path / name) for name in ("run.json", "config.yaml")):  # False if it cannot be
            return None
        return str(RunFolder(path).read_json("run.json").get("kind"))

    def write(self, name: str, text: str) -> Path:
        """Write a text file."""
        return self._put(name, text.encode("utf-8"))

    def _put(self, name: str, content: bytes) -> Path:
        try:
            write_durably(self.path / name, content)
        except OSError as error:
            raise Refused(
                f"cannot write {self.path / name}: {error.strerror or error}; what was there is whole"
            ) from None
        return self.path / name

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a line to ``history.jsonl``."""
        try:
            with (self.path / "history.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise Refused(f"cannot write to {self.path}: {error.strerror or error}") from None

    def rewrite_history(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Make ``history.jsonl`` hold these records."""
        self.write("history.jsonl", "".join(json.dumps(record) + "\n" for record in records))

    @property
    def checkpoints(self) -> Checkpoints:
        """What a stopped run goes on from."""
        return Checkpoints(self.path / CHECKPOINTS)

    @property
    def selecting(self) -> Checkpoints:
        """What a stopped selection of a finished run goes on from."""
        return Checkpoints(self.path / SELECTING)

    def start(self, note: Callable[[str], None]) -> State:
        """Where the run stands: its newest whole checkpoint, or its beginning; ``note`` hears of damaged ones."""
        return self.checkpoints.load(note) or NOWHERE

    def clear(self) -> None:
        """Remove what a stopped run would go on from: the work is done."""
        self.checkpoints.clear()

    def holding(self, name: str) -> RunFolder | None:
        """This folder, if it holds a file of this name."""
        return self if (self.path / name).is_file() else None

    def history(self) -> list[dict[str, Any]]:
        """The records so far; none if there is no history. A line that is no record, such as the last one after a
        crash, is left out."""
        try:
            text = read_text(self.path / "history.jsonl", LARGEST_HISTORY, "replace")
        except OSError:
            return []
        return [record for record in map(_record, text.splitlines()) if record is not None]

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON object. Raises `Refused` if it is missing or damaged."""
        try:
            value = json.loads(read_text(self.path / name))
        except OSError:
            raise Refused(f"{self.path} holds no {name}: it is no poise run, or not a finished one") from None
        except Refused:
            raise
        except (ValueError, RecursionError):
            raise Refused(f"{self.path / name} is damaged: not valid JSON") from None
        if not isinstance(value, dict):
            raise Refused(f"{self.path / name} is damaged: expected a JSON object")
        return value

    def result(self) -> dict[str, Any]:
        """What a finished training measured; empty before."""
        return self.read_json("result.json") if self.holding("result.json") else {}

    def genotype(self) -> Genotype:
        """The genotype that the last selection chose."""
        return read_genotype(self.path / "genotype.json")

    def save_tensors(self, name: str, tensors: Mapping[str, Tensor]) -> None:
        """Write tensors as safetensors."""
        from safetensors.torch import save  # with torch, which whoever has tensors has loaded

        values = {key: value.detach().cpu().contiguous().clone() for key, value in tensors.items()}
        self._put(name, save(values, metadata={}))

    def load_tensors(self, name: str, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Read tensors that have the names and shapes of ``expected``. Raises `Refused` if they do not fit."""
        from safetensors.torch import load_file

        path = self.path / name
        if not path.is_file():
            raise Refused(f"{self.path} holds no {name}: the run is not finished")
        try:
            tensors = load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise Refused(f"{path} is damaged: {error}") from None
        missing, foreign = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
        misfit = f"{path} does not fit the run's configuration or module:"
        if missing or foreign:
            what = f"lacks {missing[0]!r}" if missing else f"holds {foreign[0]!r}, which is unknown here"
            raise Refused(f"{misfit} it {what}")
        for key, value in expected.items():
            if tensors[key].shape != value.shape:
                found, wanted = list(tensors[key].shape), list(value.shape)
                raise Refused(f"{misfit} {key!r} has shape {found}, expected {wanted}")
            if value.is_floating_point() and not tensors[key].isfinite().all():
                raise Refused(f"{path} is damaged: {key!r} holds numbers that are not finite")
        return tensors


def read_text(path: Path, most: int = LARGEST_TEXT, errors: str = "strict") -> str:
    """The text of a file of at most ``most`` bytes; ``errors`` is as in `bytes.decode`.

    Raises:
        Refused: it is larger; no more than that is read.
        OSError, UnicodeDecodeError: as for any file.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        content = bytearray()
        while max(size, len(content)) <= most and (piece := file.read(PIECE)):  # what is no file has the size 0
            content += piece
    size = max(size, len(content))
    if size > most:
        raise Refused(f"{path} is damaged: it has {size:,} bytes, expected at most {most:,}")
    return content.decode("utf-8", errors)


def _record(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _same_place(old: str, new: str) -> bool:
    """Whether two lines of configurations give one setting the same path; older ones kept it as it was typed."""
    (name, _, before), (other, _, after) = old.partition(": "), new.partition(": ")
    return name == other and after.startswith(os.sep) and os.path.realpath(before) == os.path.realpath(after)


def read_genotype(path: Path) -> Genotype:
    """A genotype file in any notation that `Genotype.parse` reads."""
    try:
        return Genotype.parse(read_text(path))
    except OSError as error:
        raise Refused(f"cannot read the genotype {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Refused(f"{path} is not a genotype: it is not text") from None
