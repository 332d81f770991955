"""The command line as a child of this process, which has torch and the rest: their import takes ten times as long as a
small search.

It is a process like any other: it can be killed, signalled and waited for, and has an exit code.
"""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib.backends.backend_svg  # noqa: F401
import sklearn.datasets  # noqa: F401
import torch
import torch._dynamo

import poise.workflow.resume
import poise.workflow.search  # noqa: F401
from poise.cli.main import main


class Forked(subprocess.Popen[Any]):
    """``Popen`` of ``python -m poise …``, or of ``-m unrendered``, by a fork: no program is started."""

    def _execute_child(  # type: ignore[override]
        self, args: Sequence[str], executable: object, preexec_fn: Callable[[], None] | None, close_fds: object,
        pass_fds: object, cwd: object, env: dict[str, str], startupinfo: object, creationflags: object, shell: object,
        p2cread: int, p2cwrite: int, c2pread: int, c2pwrite: int, errread: int, errwrite: int, *more: Any,
    ) -> None:  # fmt: skip
        *_, start_new_session, _ = more
        self.pid = os.fork()
        if self.pid == 0:
            for ours, number in ((p2cread, 0), (c2pwrite, 1), (errwrite, 2)):
                if ours != -1:
                    os.dup2(ours, number)
            if start_new_session:
                os.setsid()
            _work(args[3:], env, preexec_fn)
        self._child_created = True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]


def _work(words: Sequence[str], env: dict[str, str], prepare: Callable[[], None] | None) -> None:
    """The life of a child."""
    code: Any = 1
    try:
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        os.environ.update(env)
        torch.set_num_threads(1)  # a library of threads does not survive a fork
        if prepare is not None:
            prepare()
        main(words)
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
