"""Commands as processes of this machine."""

from __future__ import annotations

import signal
import subprocess
from dataclasses import dataclass

from poise.errors import Refused
from poise.jobs.command import Command, Needs
from poise.jobs.executor import EXECUTORS, LOCAL, Ended
from poise.jobs.process import start_process


@dataclass(frozen=True)
class LocalProcess:
    """A process."""

    process: subprocess.Popen[bytes]
    begun: bool = True

    def poll(self) -> Ended | None:
        code = self.process.poll()
        return None if code is None else Ended.of(code)

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@EXECUTORS.add("local")
class Local:
    """Processes of this machine, `--jobs` of them side by side."""

    def __init__(self, where: str) -> None:
        if where:
            raise Refused(f"--on {LOCAL} is this machine; got {LOCAL}:{where}")

    def room(self, needs: Needs) -> bool:
        return True

    def start(self, command: Command, attempt: int) -> LocalProcess:
        return LocalProcess(start_process(command, command.folder))

    def close(self) -> None:
        pass
