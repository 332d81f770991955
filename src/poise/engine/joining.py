"""How a process joins those that it computes with: by `torch.distributed`, as whoever started it says in its
environment, be it torchrun, Slurm, MPI, LSF or Kubernetes. Lightning Fabric knows these."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from poise.errors import Lost, Refused
from poise.named import TIMEOUT, started_together
from poise.supernet.processes import Processes

SIGNS = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out waiting", "NCCL", "[rank")
"""What an error says of a collective that another process did not take part in, where its type does not say it."""


@contextmanager
def joined(timeout: float = TIMEOUT) -> Iterator[Processes]:
    """Inside, the processes that were started together compute together. One that was started alone stays so, and where
    `torch.distributed` was joined before, nothing changes.

    Args:
        timeout: seconds that a process waits for the others at any one time.

    Raises:
        Lost: another one has ended, or did not answer in time.
        Refused: they cannot come together.
    """
    environment = None if dist.is_initialized() else _environment()
    if environment is None:
        yield Processes.here()
        return
    rank, count = environment.global_rank(), environment.world_size()
    if torch.cuda.is_available():
        torch.cuda.set_device(environment.local_rank() % torch.cuda.device_count())
    where = f"tcp://{environment.main_address}:{environment.main_port}"
    try:
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
            init_method="env://" if dist.is_torchelastic_launched() else where,
            rank=rank, world_size=count, timeout=timedelta(seconds=timeout),
        )  # fmt: skip
    except (RuntimeError, ValueError) as error:
        raise Refused(
            f"process {rank} of {count} did not find the others at {where} within {timeout:g} s "
            f"({str(error).splitlines()[0]:.100})"
        ) from None
    try:
        yield Processes.here()
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and not any(sign in str(error) for sign in SIGNS):
            raise
        raise Lost(
            f"another of the {count} processes has ended, or did not answer for {timeout:g} s (--timeout); what was "
            "checkpointed is whole, so the run can go on"
        ) from None
    else:
        dist.destroy_process_group()


def _environment() -> Any:
    """What Fabric calls the cluster's environment; None where this process was started alone."""
    if not started_together():
        return None
    from lightning_fabric.plugins import environments as fabric

    environments: Any = fabric

    known = (
        environments.TorchElasticEnvironment, environments.KubeflowEnvironment, environments.SLURMEnvironment,
        environments.LSFEnvironment, environments.MPIEnvironment,
    )  # fmt: skip
    for kind in known:
        started = kind is not environments.SLURMEnvironment or "SLURM_STEP_ID" in os.environ  # by srun, not beside it
        if started and kind.detect():
            found = kind()
            return found if found.world_size() > 1 else None
    if {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE"} & set(os.environ):
        raise Refused("this process was started by MPI; to find the others it needs the package mpi4py")
    return None
