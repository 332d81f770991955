"""Trained networks on the Hugging Face Hub: what they are called, how they are fetched, and what can go wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from poise.errors import Refused, shown
from poise.extras import check_extra

PREFIX = "hf:"
EXTRA = "hub"
REPOSITORY = re.compile(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}", re.ASCII)  # neither .. nor an absolute path
LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]{1,40}")
REVISION = re.compile(r"\w[\w./-]{0,127}", re.ASCII)
NEEDED = ("run.json", "network.json", "genotype.json", "network.safetensors")
"""Without these there is no network."""
MORE = ("result.json", "history.jsonl")
NETWORK = ("httpx", "httpcore", "requests", "urllib3")
"""How the modules begin that the Hub's client is built on, in one version or another; each has errors of its own."""


@dataclass(frozen=True)
class Reference:
    """A network on the Hub: ``hf:owner/name``, or ``hf:owner/name@revision``."""

    repository: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}{'' if self.revision is None else f'@{self.revision}'}"

    @staticmethod
    def of(text: str) -> Reference:
        """Raises `Refused` for what cannot be one."""
        name, at, revision = text.removeprefix(PREFIX).partition("@")
        check_repository(name)
        if at and (not REVISION.fullmatch(revision) or ".." in revision):
            raise Refused(f"{shown(text)} names no revision, expected a branch, a tag or a commit after the @")
        return Reference(name, revision or None)


def on_hub(what: object) -> bool:
    """Whether this means a network on the Hub."""
    return isinstance(what, str | Path) and str(what).startswith(PREFIX)


def check_repository(name: str) -> None:
    """Raise `Refused` unless this can be the name of a repository."""
    if not REPOSITORY.fullmatch(name):
        raise Refused(f"{shown(name)} is not the name of a Hub repository, expected owner/name")


def check_reference(what: str | Path) -> None:
    """Raise `Refused` for what names no network on the Hub, or where the Hub's client is missing. Asks nobody."""
    Reference.of(str(what))
    check_extra(EXTRA, str(what))


def check_licence(licence: str) -> None:
    """Raise `Refused` for what cannot be the Hub's name of a licence."""
    if not LICENCE.fullmatch(licence):
        raise Refused(f"{shown(licence)} is no licence of the Hub's, expected a name such as apache-2.0, mit or other")


def fetched(what: str | Path) -> Path:
    """The folder that a network on the Hub was downloaded to, or found in, if it has been before and there is no
    network. Nothing of what is in it has been looked at.

    Raises `Refused` if there is no such repository, it holds no network of poise, or the Hub cannot be reached.
    """
    check_reference(what)
    from huggingface_hub import HfApi
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    reference, api = Reference.of(str(what)), HfApi()
    folder, revision = Path(), reference.revision
    with explained(str(reference)):
        for name in (*NEEDED, *MORE):
            try:
                folder = Path(api.hf_hub_download(reference.repository, name, revision=revision)).parent
            except LocalEntryNotFoundError:
                if name in NEEDED:
                    raise
            except EntryNotFoundError:
                if name in NEEDED:
                    raise Refused(f"{reference} is no network of poise: it holds no {name}") from None
            revision = folder.name  # a commit: all files are of the same one
    return folder


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Raise what goes wrong with the Hub as `Refused`, in one line that says what to do."""
    from huggingface_hub import errors

    try:
        yield
    except Refused:
        raise
    except errors.GatedRepoError:
        raise Refused(f"{what} is gated: ask its owner for access, on its page") from None
    except errors.RepositoryNotFoundError:
        raise Refused(
            f"there is no {what} on the Hub, or it is private and you are not logged in: hf auth login"
        ) from None
    except errors.RevisionNotFoundError:
        raise Refused(f"{what}: there is no such branch, tag or commit") from None
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise Refused(f"the Hub does not let you use {what}; log in as who may: hf auth login") from None
        raise Refused(f"the Hub answers {status} for {what}: {_first_line(error)}") from None
    except errors.LocalEntryNotFoundError:
        raise Refused(f"the Hub cannot be reached, and {what} was not downloaded before") from None
    except OSError as error:
        raise Refused(f"the Hub cannot be reached for {what}: {_first_line(error)}") from None
    except Exception as error:
        if not type(error).__module__.startswith(NETWORK):
            raise
        raise Refused(f"the Hub cannot be reached for {what}: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]
