"""A command of poise as a value: what is run, which files it takes and makes, what it needs of a machine."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

HERE = "{folder}"
"""In the words of a command: the folder that it runs in, which is another one on another machine."""


@dataclass(frozen=True)
class Needs:
    """What a command needs of the machine that runs it.

    Args:
        cpus: cores, and so many threads.
        gpus: graphics processors.
        memory: bytes; 0: nobody knows.
    """

    cpus: int = 1
    gpus: int = 0
    memory: int = 0


@dataclass(frozen=True)
class Command:
    """``python -m poise WORDS``, and everything that it reads and writes, below one folder. It can be stopped at any
    time and goes on with what is there.

    Args:
        label, seed: by which people know it.
        words: after ``python -m poise``; `HERE` stands for the folder.
        folder: everything of it lies below.
        work: the folder that it works in, from there.
        log: the file that holds what it says, from there.
        history: the file that gets a line per epoch, from there.
        takes: files that it reads besides, from there.
        makes: files that are there once it is done, from there.
        needs: of a machine.
    """

    label: str
    seed: int
    words: tuple[str, ...]
    folder: Path
    work: str
    log: str
    history: str
    takes: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    needs: Needs = Needs()

    @property
    def name(self) -> str:
        """``darts, seed 3``"""
        return f"{self.label}, seed {self.seed}"

    @property
    def files(self) -> tuple[str, ...]:
        """All that it reads and writes: files, and folders with everything in them."""
        return (*self.takes, self.work, self.log, *self.makes)

    def line(self, folder: Path) -> list[str]:
        """What to start, where its files are in this folder."""
        return [sys.executable, "-m", "poise", *(word.replace(HERE, str(folder)) for word in self.words)]

    def done(self) -> bool:
        """Whether everything is there that it makes."""
        return all((self.folder / name).is_file() for name in self.makes)

    def epochs(self) -> int:
        """Epochs that lie behind it."""
        try:
            return (self.folder / self.history).read_bytes().count(b"\n")
        except OSError:
            return 0

    def last_words(self) -> str:
        """The last line that it said."""
        try:
            lines = (self.folder / self.log).read_bytes()[-4096:].decode("utf-8", "replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1][:300] if lines else ""
