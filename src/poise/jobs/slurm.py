"""Commands as jobs of Slurm, by submitit: each is a process on a compute node, in its own folder on the shared disk."""

from __future__ import annotations

import signal
from typing import Any

from poise.errors import Refused
from poise.jobs.command import Command, Needs
from poise.jobs.executor import EXECUTORS, Ended
from poise.jobs.process import start_process

SCRIPTS = "logs/slurm"
"""The folder of submitit's own files."""
MINUTES = 24 * 60
"""The time limit of a job where nobody sets another; what reaches it goes on in a job after it."""


def work(command: Command) -> int:
    """On a compute node: carry the command out; returns its exit code. Whatever interrupts that, such as the end of its
    time or that others go first, the command saves where it is."""
    process = start_process(command, command.folder, hide_gpus=True)
    try:
        return process.wait()
    except BaseException:
        process.send_signal(signal.SIGTERM)
        process.wait()
        raise


class OnSlurm:
    """A job of Slurm."""

    def __init__(self, job: Any) -> None:
        self._job = job

    @property
    def begun(self) -> bool:
        return self._job.state not in ("PENDING", "UNKNOWN", "REQUEUED")

    def poll(self) -> Ended | None:
        if not self._job.done():
            return None
        from submitit.core.utils import FailedJobError, UncompletedJobError

        try:
            code: int = self._job.result()
        except (FailedJobError, UncompletedJobError):
            return Ended(None, f"its worker was lost: job {self._job.job_id} is {self._job.state}")
        return Ended.of(code)

    def stop(self) -> None:
        self._job.cancel(check=False)

    def kill(self) -> None:
        self._job.cancel(check=False)


@EXECUTORS.add("slurm")
class Slurm:
    """Jobs of Slurm, for which this machine submits; ``slurm:partition=gpu,time=120`` sets options of sbatch."""

    cluster = "slurm"

    def __init__(self, where: str) -> None:
        from shutil import which

        if self.cluster == "slurm" and which("sbatch") is None:
            raise Refused("--on slurm needs sbatch, and there is none here: start it where jobs are submitted")
        options = [part.partition("=") for part in where.split(",") if part]
        if any(not (name and value) for name, _, value in options):
            raise Refused(f"--on slurm: takes options of sbatch as NAME=VALUE with commas between; got {where!r}")
        self._options = {name: value for name, _, value in options}

    def room(self, needs: Needs) -> bool:
        return True  # to wait in its queue is what Slurm is for

    def start(self, command: Command, attempt: int) -> OnSlurm:
        import submitit

        needs, scripts = command.needs, command.folder / SCRIPTS
        executor = submitit.AutoExecutor(scripts, cluster=self.cluster)
        executor.update_parameters(
            name=command.name.replace(", ", "-").replace(" ", ""), nodes=1, tasks_per_node=1, cpus_per_task=needs.cpus,
            gpus_per_node=needs.gpus, timeout_min=MINUTES, slurm_additional_parameters=self._options,
            **({"mem_gb": needs.memory / 1e9} if needs.memory else {}),
        )  # fmt: skip
        return OnSlurm(executor.submit(work, command))

    def close(self) -> None:
        pass
