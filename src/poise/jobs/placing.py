"""Where commands run, how many at once, and what each needs: settings of a bench, and of seeds of a search."""

from __future__ import annotations

import os
from typing import Annotated, Any

from pydantic import Field, model_validator

from poise.engine.settings import Settings, Size
from poise.jobs.command import Needs
from poise.jobs.executor import LOCAL


class Placing(Settings):
    """Where commands run."""

    on: str = LOCAL
    """An executor: ``local``, ``ray``, ``ray://HOST:PORT``, ``slurm``, ..."""
    at_once: Size | None = None
    """Side by side at most. None: one on this machine, elsewhere as many as there is room for."""
    cpus: Size | None = None
    """Cores of each. None: on this machine its cores divided, elsewhere one."""
    memory: Annotated[int, Field(ge=0)] = 0
    """Bytes of each; 0: not said."""

    @model_validator(mode="after")
    def _memory_is_shared_out(self) -> Placing:
        if self.memory and self.local:
            raise ValueError("memory is shared out by ray and slurm, not by this machine")
        return self

    @property
    def local(self) -> bool:
        """Whether they run on this machine, as its processes."""
        return self.on == LOCAL

    @property
    def most(self) -> int | None:
        """Side by side at most; None: as many as there is room for."""
        return self.at_once or (1 if self.local else None)

    @property
    def threads(self) -> int:
        """Of each."""
        return self.cpus or (threads_each(self.at_once or 1, os.cpu_count() or 1) if self.local else 1)

    def needs(self, device: str) -> Needs:
        """Of each, on this device. Elsewhere than on this machine ``auto`` is the CPU: who wants a GPU for each says
        so."""
        return Needs(self.threads, int(device == "cuda"), self.memory)

    def places(self) -> dict[str, Any]:
        """These settings alone."""
        return {name: getattr(self, name) for name in Placing.model_fields}


def threads_each(jobs: int, cores: int) -> int:
    """Threads for each of ``jobs`` processes: together no more than the cores, since more makes all of them slow."""
    return max(1, cores // jobs)
