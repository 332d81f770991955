"""Text files in a folder: one for each of train, valid and test."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from poise.data.labels import Labels
from poise.data.source import SOURCES
from poise.data.text import TextSource, read_file, text_files
from poise.errors import Refused
from poise.named import path_of


@SOURCES.add("text")
class TextFolder:
    """A folder of text files: train.txt, valid.txt, test.txt (or ptb.train.txt, wiki.train.tokens, ...), no folders."""

    form = "a folder of text files"

    @classmethod
    def matches(cls, spec: object) -> bool:
        path = path_of(spec)
        return path is not None and bool(text_files(path))

    @classmethod
    def open(cls, spec: object, labels: Labels) -> TextSource:
        folder = Path(str(spec)).expanduser()
        files = text_files(folder)
        if "valid" not in files:
            raise Refused(f"{folder} holds {files['train'].name} but no text to search on; add valid.txt")
        read = {split: partial(read_file, path, folder) for split, path in files.items()}
        return TextSource(folder.resolve().name, read)
