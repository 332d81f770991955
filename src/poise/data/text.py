"""Text as numbers: the words of a training text, and every split written in them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from poise.errors import Refused, unknown

END, UNKNOWN = "<eos>", "<unk>"
"""The word that ends every line, and the word for every word that is none of the vocabulary."""

LARGEST_FILE = 2**30
"""Bytes of a text file, looked at before it is read."""

LARGEST_VOCABULARY = 500_000
"""Words; far more than a softmax over all of them has time for."""

SPLITS: Mapping[str, tuple[str, ...]] = {"train": ("train",), "valid": ("valid", "val", "dev"), "test": ("test",)}
"""Split -> what stands for it between the dots of a file's name."""

ENDINGS = (".txt", ".tokens")


@dataclass(frozen=True, eq=False)
class Text:
    """One split: ``tokens [n]``, int64, each an index into ``words``."""

    tokens: Tensor
    words: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.tokens)


def tokens_of(text: str) -> list[str]:
    """The words of a text, separated by white space, each line ended by ``<eos>``."""
    lines = re.sub(r"\r\n?", "\n", text).split("\n")
    if lines and not lines[-1]:
        lines.pop()
    return [word for line in lines for word in (*line.split(), END)]


def vocabulary_of(tokens: list[str]) -> tuple[str, ...]:
    """The words of a training text in the order of their first appearance.

    Where the text does not have ``<unk>`` itself, words that it has only once become ``<unk>``: what stands for unknown
    words in other texts must occur in the training text, or nothing could be learnt about it.
    """
    counts = Counter(tokens)
    least = 1 if UNKNOWN in counts else 2
    return tuple(dict.fromkeys(word if counts[word] >= least or word == END else UNKNOWN for word in tokens))


class TextSource:
    """A text in splits, ``train``, ``valid`` and perhaps ``test``; each is read when it is asked for.

    Args:
        name: what refusals call it.
        read: split -> what reads it.
    """

    def __init__(self, name: str, read: Mapping[str, Callable[[], str]]) -> None:
        self.name = name
        self._read = dict(read)

    @staticmethod
    def of(train: str, valid: str, test: str | None = None, name: str = "the text") -> TextSource:
        """A source of texts that are at hand."""
        given = {"train": train, "valid": valid, "test": test}
        return TextSource(name, {split: lambda text=text: text for split, text in given.items() if text is not None})  # type: ignore[misc]

    def has(self, split: str) -> bool:
        """Whether there is a split of this name. Reads nothing."""
        return split in self._read

    @cached_property
    def _training(self) -> list[str]:
        return self._words_of("train")

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The vocabulary: that of the training text. Raises `Refused` if it is too large or has one word only."""
        found = vocabulary_of(self._training)
        if not 2 <= len(found) <= LARGEST_VOCABULARY:
            raise Refused(
                f"the training text of {self.name} has {len(found):,} different words, expected 2 to "
                f"{LARGEST_VOCABULARY:,}"
            )
        return found

    def load(self, split: str) -> Text:
        """A split, written in the words of the training text; words that it does not have are ``<unk>``.

        Raises:
            Refused: there is no such split, it cannot be read or is empty, or the training text has no ``<unk>`` for a
                word that it does not have.
        """
        index = {word: number for number, word in enumerate(self.words)}
        tokens = self._training if split == "train" else self._words_of(split)
        other = index.get(UNKNOWN)
        found = [index.get(word, other) for word in tokens]
        if None in found:
            word = tokens[found.index(None)]
            raise Refused(
                f"the {split} text of {self.name} holds {word[:40]!r}, which its training text does not, and no "
                f"{UNKNOWN} to stand for it; write {UNKNOWN} for rare words in the training text"
            )
        return Text(torch.tensor(found, dtype=torch.int64), self.words)

    def _words_of(self, split: str) -> list[str]:
        if split not in self._read:
            raise unknown(f"split of {self.name}", split, self._read)
        tokens = tokens_of(self._read[split]())
        if not tokens:
            raise Refused(f"the {split} text of {self.name} is empty")
        return tokens


def text_files(folder: Path) -> dict[str, Path]:
    """Split -> its file, for a folder that holds text; empty for any other.

    It holds text if a file is called ``train.txt``, ``ptb.train.txt``, ``wiki.train.tokens`` or the like, and no folder
    stands beside it. Raises `Refused` where two files could be meant by a split.
    """
    if not folder.is_dir():
        return {}
    entries = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    if any(path.is_dir() for path in entries):
        return {}
    found: dict[str, Path] = {}
    for split, names in SPLITS.items():
        files = [path for path in entries if path.suffix in ENDINGS and set(names) & set(path.stem.split("."))]
        if len(files) > 1:
            raise Refused(f"{folder} holds {files[0].name} and {files[1].name}: one file for {split} was expected")
        if files:
            found[split] = files[0]
    return found if "train" in found else {}


def read_file(path: Path, folder: Path) -> str:
    """The text of a file of ``folder``. Raises `Refused` if it is too large, no regular file or not UTF-8."""
    if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
        raise Refused(f"{path} is a link out of {folder} (to {path.resolve()}), expected the file itself")
    if not path.is_file():  # a pipe would block whoever reads it, for ever
        raise Refused(f"{path} is not a regular file, expected a text")
    try:
        size = os.stat(path).st_size
        if size > LARGEST_FILE:
            raise Refused(f"{path} has {size:,} bytes, expected a text of at most {LARGEST_FILE:,}")
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused(f"{path} is not UTF-8 text: byte {error.start:,} cannot be read") from None
    except OSError as error:
        raise Refused(f"cannot read {path}: {error.strerror or error}") from None


def text_fingerprint(*parts: Text) -> str:
    """SHA-256 of words and tokens, in their order; 64 hexadecimal digits."""
    whole = sha256()
    for text in parts:
        whole.update("\n".join(text.words).encode("utf-8", "surrogatepass") + b"\0")
        whole.update(text.tokens.cpu().contiguous().numpy().data)
    return whole.hexdigest()
