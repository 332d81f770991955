"""A command as a process of this machine, which every executor starts somewhere. It ends when its parent has gone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from poise.jobs.command import Command
from poise.named import PARENT


def start_process(command: Command, folder: Path, hide_gpus: bool = False) -> subprocess.Popen[bytes]:
    """Start the command, with its files in this folder.

    Args:
        command: what is run, with so many threads as it has cores.
        folder: may be another one than the command's own.
        hide_gpus: let it see none unless it asked for some.
    """
    threads = str(command.needs.cpus)
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, PARENT: str(os.getpid())}
    if hide_gpus and not command.needs.gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    log = folder / command.log
    inside = f"{command.work}/"  # which the command makes itself
    for path in (log, *(folder / name for name in command.makes if not name.startswith(inside))):
        path.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        # A group of its own: an interrupt from the keyboard reaches the runner, which tells its processes itself.
        return subprocess.Popen(
            command.line(folder), stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment,
            start_new_session=True,
        )  # fmt: skip
