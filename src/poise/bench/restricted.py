"""Reading pickles as data: what they hold of plain values comes out, nothing that they name is ever called.

A pickle is a program that may call anything it can name. This reader lets it name a handful of things, and gives it
harmless stand-ins for all of them, made afresh for every file, so that no file can change what the next one meets.
Everything else is refused by name. What this does not prevent is waste: a hostile file within the limit of bytes can
still ask for much memory, or for a nesting so deep that the interpreter crashes; whoever reads files of strangers does
it in a process of its own, as `importing` does.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Mapping
from typing import IO, Any

import numpy as np

from poise.errors import Refused, shown

_NUMBER = re.compile(r"[fiub][1248]")


def _stand_ins() -> Mapping[tuple[str, str], Callable[..., Any]]:
    """Name -> what a file gets for it."""

    class Ordered(dict[Any, Any]):
        """A dict; what a file sets on it besides its items is dropped."""

        def __setstate__(self, state: object) -> None: ...

    class Inert:
        """In place of tensors, arrays and their storage: holds nothing."""

        def __init__(self, *arguments: object) -> None: ...

        def __setstate__(self, state: object) -> None: ...

    class Dtype:
        """The type of a number. Its state is ``(version, byte order, ...)``."""

        def __init__(self, code: object, *flags: object) -> None:
            self.code, self.order = code, "<"

        def __setstate__(self, state: object) -> None:
            if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|"):
                self.order = str(state[1])

    def scalar(dtype: object, data: object = None) -> object:
        """A number of numpy, as Python's; of any other type nothing."""
        code = getattr(dtype, "code", None)
        if not isinstance(code, str) or not _NUMBER.fullmatch(code) or not isinstance(data, bytes):
            return None
        order = getattr(dtype, "order", "<")
        return np.frombuffer(data, np.dtype(f"{order}{code}"), count=1)[0].item()

    def encoded(text: object, encoding: object = "latin1") -> bytes:
        """How pickles of protocol 2 write bytes."""
        if not isinstance(text, str) or encoding != "latin1":
            raise Refused(f"the pickle encodes {shown(text, 40)} as {shown(encoding, 40)}; only latin1 is known")
        return text.encode("latin1")

    known: dict[tuple[str, str], Callable[..., Any]] = {
        ("collections", "OrderedDict"): Ordered,
        ("_codecs", "encode"): encoded,
        ("numpy", "dtype"): Dtype,
        ("numpy", "ndarray"): Inert,
        ("torch._utils", "_rebuild_tensor_v2"): Inert,
        ("torch._utils", "_rebuild_parameter"): Inert,
        ("torch", "device"): Inert,
        ("torch", "Size"): Inert,
    }
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        known[module, "scalar"] = scalar
        known[module, "_reconstruct"] = Inert
    for module in ("__builtin__", "builtins"):
        known[module, "set"] = set
        known[module, "frozenset"] = frozenset
    for kind in ("Float", "Double", "Half", "Long", "Int", "Short", "Char", "Byte", "Bool"):
        known["torch", f"{kind}Storage"] = Inert
    return known


class _Unpickler(pickle.Unpickler):
    """Knows the stand-ins only. Tensors' storages, which stand outside of the pickle, are nothing."""

    def __init__(self, stream: IO[bytes], known: Mapping[tuple[str, str], Callable[..., Any]]) -> None:
        super().__init__(stream)
        self._known = known
        self._nothing = known["torch", "Size"]

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._known[module, name]
        except KeyError:
            raise Refused(f"the pickle asks for {module}.{name}, which no table of results needs") from None

    def persistent_load(self, pid: object) -> Any:
        return self._nothing()


def read_pickle(stream: IO[bytes], name: str) -> Any:
    """The plain values of the pickle that begins here; the stream is left where it ends.

    Raises:
        Refused: it names something outside of the list, is cut off or damaged.
    """
    try:
        return _Unpickler(stream, _stand_ins()).load()
    except Refused as error:
        raise Refused(f"{name}: {error}") from None
    except MemoryError:
        raise Refused(f"{name}: the pickle asks for more memory than there is") from None
    except RecursionError:
        raise Refused(f"{name}: the pickle is nested too deeply") from None
    except Exception as error:  # damaged pickles raise errors of every kind
        raise Refused(f"{name}: the pickle is damaged: {str(error) or type(error).__name__:.200}") from None
