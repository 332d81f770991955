"""Commands on the nodes of a Ray: each is a process in a folder of its own on some node, started by an actor.

Nodes need not share a disk. What a command needs goes to its actor as bytes, what it changes comes back so every few
seconds, and what had not come back when a node is lost is done again elsewhere. Ray chooses nodes and moves bytes; what
is computed is what the same process computes here, to the last bit.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

from poise.errors import Refused
from poise.jobs.command import Command, Needs
from poise.jobs.executor import EXECUTORS, Ended
from poise.jobs.mirror import Changes, Mirror
from poise.jobs.process import start_process

EVERY = 2.0
"""Seconds between two reports of a command that works."""
QUEUED = 16
"""So many commands may wait for a node: enough to keep all nodes busy, and to show an autoscaler that there is more."""


class Worker:
    """On a node: one command, in a folder that is gone after it."""

    def __init__(self, command: Command, files: dict[str, bytes]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="poise-")
        here = Path(self._folder.name)
        Changes(files).put(here)
        self._mirror = Mirror(here, command.files, known=True)
        self._process: subprocess.Popen[bytes] = start_process(command, here, hide_gpus=True)

    def report(self, seconds: float) -> tuple[Changes, int | None]:
        """What has changed, and the exit code: once it has ended, or after so many seconds."""
        try:
            code: int | None = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        changes = self._mirror.changes()
        if code is not None:
            self._folder.cleanup()
        return changes, code

    def stop(self) -> None:
        """Ask it to save where it is."""
        self._process.send_signal(signal.SIGTERM)


class OnRay:
    """A command on some node, or waiting for one."""

    def __init__(self, command: Command, actor: Any) -> None:
        self.begun = False
        self._command, self._actor = command, actor
        self._report = actor.report.remote(0.0)

    def poll(self) -> Ended | None:
        import ray

        ready, _ = ray.wait([self._report], timeout=0)
        if not ready:
            return None
        try:
            changes, code = ray.get(self._report)
        except ray.exceptions.RayError as error:
            self.kill()
            return Ended(None, f"its worker was lost: {_first_line(error)}")
        self.begun = True
        try:
            changes.put(self._command.folder)
        except OSError as error:
            raise Refused(f"cannot write what came back to {self._command.folder}: {error.strerror}") from None
        if code is None:
            self._report = self._actor.report.remote(EVERY)
            return None
        self.kill()
        return Ended.of(code)

    def stop(self) -> None:
        if self.begun:
            self._actor.stop.remote()
        else:
            self.kill()

    def kill(self) -> None:
        import ray

        ray.kill(self._actor)


@EXECUTORS.add("ray")
class Ray:
    """The nodes of a Ray: one that is there, or a new one on this machine."""

    def __init__(self, where: str) -> None:
        import ray

        self._namespace = f"poise-{uuid4().hex[:8]}"
        self._waiting: list[OnRay] = []
        self._joined = not ray.is_initialized()
        if not self._joined:
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # of a Ray that is started here: nothing is sent anywhere
        address = f"ray:{where}" if where.startswith("//") else where or None
        try:
            ray.init(address, logging_level=logging.ERROR, log_to_driver=False)
        except (ConnectionError, RuntimeError, TimeoutError, ValueError, AssertionError) as error:
            raise Refused(f"cannot reach {address or 'a Ray on this machine'}: {_first_line(error)}") from None

    def room(self, needs: Needs) -> bool:
        self._waiting = [each for each in self._waiting if not each.begun]
        return len(self._waiting) < QUEUED

    def start(self, command: Command, attempt: int) -> OnRay:
        import ray

        needs = command.needs
        actor = (
            ray.remote(Worker)
            .options(
                name=command.name if attempt == 1 else f"{command.name}, attempt {attempt}", namespace=self._namespace,
                num_cpus=needs.cpus, num_gpus=needs.gpus, memory=needs.memory or None, max_restarts=0,
            )
            .remote(command, Mirror(command.folder, command.files).changes().files)
        )  # fmt: skip
        found = OnRay(command, actor)
        self._waiting.append(found)
        return found

    def close(self) -> None:
        import ray

        if self._joined:
            ray.shutdown()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
