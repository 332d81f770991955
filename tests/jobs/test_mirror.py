"""What has changed in a folder, all of it at one moment; and the same changes elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from poise.jobs.mirror import MOMENTS, Mirror

NAMES = ("bench.json", "runs/a", "results/a.json")


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_folder_comes_over_change_by_change(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    files = {"bench.json": "1", "runs__a__history": "0\n", "runs__a__checkpoints__1": "one", "runs__b__other": "no"}
    write(here, **files, **{"runs__a__.lock": "7", "runs__a__checkpoints__.2.new": "half"})
    mirror = Mirror(here, NAMES)
    mirror.changes().put(there)
    expected = {"bench.json": "1", "runs/a/history": "0\n", "runs/a/checkpoints/1": "one"}
    assert contents(there) == expected
    nothing = mirror.changes()
    assert (nothing.files, nothing.gone) == ({}, ())
    write(here, runs__a__history="0\n1\n", results__a__json="found", **{"results__a.json": "found"})
    (here / "runs/a/checkpoints/1").unlink()
    changes = mirror.changes()
    assert set(changes.files) == {"runs/a/history", "results/a.json"}
    assert changes.gone == ("runs/a/checkpoints/1",)
    changes.put(there)
    changes.put(there)
    assert contents(there) == {"bench.json": "1", "runs/a/history": "0\n1\n", "results/a.json": "found"}


def test_what_is_known_is_not_sent(tmp_path: Path) -> None:
    write(tmp_path, **{"bench.json": "1", "runs__a__history": "0\n"})
    mirror = Mirror(tmp_path, NAMES, known=True)
    assert not mirror.changes().files
    (tmp_path / "bench.json").unlink()
    assert mirror.changes().gone == ("bench.json",)


def test_a_file_that_is_replaced_by_one_as_long_at_the_same_time_has_changed(tmp_path: Path) -> None:
    write(tmp_path, **{"bench.json": "1", "new": "2"})
    mirror = Mirror(tmp_path, NAMES, known=True)
    (tmp_path / "new").replace(tmp_path / "bench.json")
    assert mirror.changes().files == {"bench.json": b"2"}


class Busy(Mirror):
    """While it reads, whoever works in the folder replaces a checkpoint and adds a line to the history."""

    moves = 0

    def _read(self, name: str) -> bytes | None:
        content = super()._read(name)
        if self.moves > 0:
            self.moves -= 1
            write(
                self._folder, **{f"runs__a__checkpoints__{self.moves}": "new", "runs__a__history": "0\n" * self.moves}
            )
            (self._folder / f"runs/a/checkpoints/{self.moves + 1}").unlink()
        return content


@pytest.mark.parametrize("moves", [1, 5])
def test_a_moment_is_caught_in_which_nothing_changes(moves: int, tmp_path: Path) -> None:
    """Never the old history with the new checkpoint, nor neither checkpoint."""
    here, there = tmp_path / "here", tmp_path / "there"
    write(here, **{f"runs__a__checkpoints__{moves}": "old", "runs__a__history": ""})
    mirror = Busy(here, NAMES)
    mirror.moves = moves
    mirror.changes().put(there)
    assert contents(there) == contents(here)
    assert set(contents(there)) == {"runs/a/checkpoints/0", "runs/a/history"}


def test_where_nothing_ever_rests_what_was_read_is_taken(tmp_path: Path) -> None:
    write(tmp_path, **{"runs__a__checkpoints__1000": "old", "runs__a__history": ""})
    mirror = Busy(tmp_path, NAMES)
    mirror.moves = 1000
    assert mirror.changes().files
    assert 1000 - mirror.moves <= 3 * MOMENTS
    mirror.moves = 0
    there = tmp_path / "there"
    mirror.changes().put(there)
    assert "runs/a/history" in contents(there), "what was read in passing is sent again"
