"""A bench on a Ray of two nodes, one of which is killed: complete, and the same bits as on this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from forked import Forked
from full import FULL, full_only
from poise.bench.bench_folder import bench_of
from poise.bench.runner import commands, run_bench
from poise.cli.signals import STOPPED
from poise.errors import Refused
from poise.jobs import process
from poise.jobs import ray as on_ray
from poise.jobs.command import Command, Needs
from poise.jobs.executor import open_executor
from poise.jobs.mirror import Changes, Mirror
from poise.jobs.scheduler import Standing

EPOCHS, SEEDS = (12, (0, 1, 2)) if FULL else (8, (0,))
CONTESTANT = f"darts:search.epochs={EPOCHS}:search.diagnostics=[]"


@pytest.fixture(scope="module")
def forks() -> Iterator[None]:
    """Processes that are started here are forks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "subprocess", SimpleNamespace(**{**vars(process.subprocess), "Popen": Forked}))
        yield


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that computes nothing, and two nodes of one core each, which are missed soon when they are lost."""
    from ray.cluster_utils import Cluster

    soon = {
        "health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 5,
    }  # fmt: skip
    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": soon}
    found = Cluster(initialize_head=True, connect=True, head_node_args=head)
    for _ in range(2):
        found.add_node(num_cpus=1)
    yield found
    ray.shutdown()
    found.shutdown()


def bench(on: str, **more: Any) -> Any:
    return bench_of(
        protocol="smoke", contestants=(CONTESTANT,), selections=("magnitude",), seeds=SEEDS,
        data="digits", device="cpu", on=on, cpus=1, **more,
    )  # fmt: skip


def results(folder: Path) -> dict[str, Any]:
    """Every result, seconds aside."""
    found = {path.name: json.loads(path.read_text()) for path in (folder / "results").iterdir()}
    for value in found.values():
        for step in [value, *value["epochs"]]:
            step.pop("seconds")
    return found


@pytest.fixture(scope="module")
def local(forks: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the bench on this machine."""
    folder = tmp_path_factory.mktemp("local") / "bench"
    run_bench(bench("local"), folder)
    return folder


@full_only  # in short, a worker that is asked to stop, and the scheduler with jobs that are lost
def test_a_node_is_lost(cluster: Any, local: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_ray, "EVERY", 0.2)
    folder, killed = tmp_path / "bench", list[str]()

    def watch(standings: Sequence[Standing]) -> None:
        for each in standings:
            if not killed and each.state == "running" and 1 < each.command.epochs() < EPOCHS:
                killed.append(each.command.name)
                at_work = {info["Name"]: info["Address"]["NodeID"] for info in ray._private.state.actors().values()}
                (node,) = [node for node in cluster.list_all_nodes() if node.node_id == at_work[each.command.name]]
                cluster.remove_node(node, allow_graceful=False)

    found = run_bench(bench("ray"), folder, watch)
    assert [(each.state, each.attempts) for each in found] == [
        ("done", 1 + (each.command.name in killed)) for each in found
    ]
    assert results(folder) == results(local)
    (again,) = [each for each in found if each.attempts == 2]
    said = (folder / again.command.log).read_text()
    assert said.count("search epoch 1 |") == 1, "it went on from a checkpoint"
    assert ray.is_initialized(), "a Ray that was there is left as it is"
    names = {actor["name"] for actor in ray.util.list_named_actors(all_namespaces=True)}
    assert not names, "no actor is left"


def test_no_more_wait_for_a_node_than_an_autoscaler_needs_to_see(cluster: Any, tmp_path: Path) -> None:
    executor = on_ray.Ray("")
    large = Needs(cpus=64)
    given = Command("darts", 0, ("list", "methods"), tmp_path, "work", "logs/a.log", "history.jsonl", needs=large)
    waiting = []
    while executor.room(large):
        waiting.append(executor.start(given, len(waiting) + 1))
    assert len(waiting) == on_ray.QUEUED
    assert not any(each.begun or each.poll() for each in waiting)
    for each in waiting:
        each.stop()
    end = time.monotonic() + 60
    while not all(each.poll() for each in waiting):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_disk_that_is_full_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Before a Ray: an actor that sends a file where no file can be."""
    (tmp_path / "logs").write_text("no folder")
    actor = SimpleNamespace(report=SimpleNamespace(remote=lambda seconds: "report"))
    monkeypatch.setattr(ray, "wait", lambda reports, timeout: (reports, []))
    monkeypatch.setattr(ray, "get", lambda report: (Changes({"logs/a.log": b""}), None))
    found = on_ray.OnRay(Command("darts", 0, (), tmp_path, "work", "logs/a.log", "h"), actor)
    with pytest.raises(Refused, match=f"cannot write what came back to {tmp_path}: "):
        found.poll()


def test_a_worker_is_asked_to_stop_and_another_one_goes_on(local: Path, tmp_path: Path) -> None:
    """What actors do, in this process."""
    folder = tmp_path / "bench"
    given, *_ = commands(bench("ray"), folder)
    Changes({"bench.json": (local / "bench.json").read_bytes()}).put(folder)

    def worked(stop: bool) -> int:
        worker, code = on_ray.Worker(given, Mirror(folder, given.files).changes().files), None
        while code is None:
            changes, code = worker.report(0.05)
            assert "bench.json" not in changes.files, "only changes are sent"
            changes.put(folder)
            if stop and given.epochs() > 1:
                worker.stop()
                stop = False
        assert not Path(worker._folder.name).exists()
        return code

    assert worked(stop=True) == STOPPED
    assert not given.done()
    assert any((folder / given.work).rglob("*.checkpoint"))
    assert worked(stop=False) == 0
    assert given.done()
    (name, found), *_ = results(folder).items()
    assert found == results(local)[name]
    assert not any((folder / given.work).rglob("*.checkpoint")), "what is gone there is gone here"


@pytest.mark.parametrize(
    ("where", "address"), [("", None), ("//head:10001", "ray://head:10001"), ("head:6379", "head:6379")]
)
def test_a_ray_that_cannot_be_reached_is_refused(
    where: str, address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def init(address: str | None, **_: Any) -> None:
        seen.append(address)
        raise ConnectionError("no route\nand more")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    with pytest.raises(Refused, match=f"cannot reach {address or 'a Ray on this machine'}: no route$"):
        open_executor(f"ray:{where}" if where else "ray")
    assert seen == [address]
