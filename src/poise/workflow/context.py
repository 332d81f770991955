"""How a run is carried out, whatever it computes: where it is saved, who listens, and how it is watched over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from poise.engine.checkpoint import State
from poise.engine.checkpointer import Checkpointer, RunControl
from poise.engine.environment import environment
from poise.engine.events import EpochEnded, Event, Listener, Noted, ignore
from poise.engine.lock import locked
from poise.engine.notes import note
from poise.engine.run import RunFolder
from poise.engine.unsaved import Output, Unsaved
from poise.errors import Refused
from poise.named import FROM_PYTHON
from poise.workflow.standing import check_free

if TYPE_CHECKING:
    from torch import nn

    from poise.config.settings import RunSettings
    from poise.supernet.processes import Processes
    from poise.trackers.tracking import Tracking

T = TypeVar("T")


@dataclass(frozen=True)
class RunContext:
    """The circumstances of a run.

    Args:
        out: the folder that it is saved in; None: it is not saved.
        overwrite: replace the run that is there.
        resume: go on with the run that is there, or begin it if there is none.
        auto_batch: take a smaller batch where the one that is set does not fit the memory that is free.
        listen: is told every event.
        control: how often the run is saved, whether it was asked to stop, and what is done when it diverges.
        processes: those that compute the run together, the first of which saves it and tells of it; None: this one.
        track: trackers, by name, that are told of the run; a run that is gone on with keeps those that it has.
        tracking: of an opened run that is saved, those trackers.
    """

    out: Path | None = None
    overwrite: bool = False
    resume: bool = False
    auto_batch: bool = False
    listen: Listener = ignore
    control: RunControl = RunControl()
    processes: Processes | None = None
    track: tuple[str, ...] = ()
    tracking: Tracking | None = None

    def note(self, message: str) -> None:
        """Tell something that the person who waits should know."""
        self.listen(Noted(message))

    def settled(self) -> RunContext:
        """The same, with ``resume`` only where there is a run to go on with.

        Raises `Refused` for what does not go together, and for a folder that a new run may not be put in. Touches
        nothing, and needs no torch.
        """
        if self.resume and (self.out is None or self.overwrite):
            raise Refused("to resume a run takes its folder, and does not go with overwriting it")
        if self.auto_batch and self.resume:
            raise Refused("a batch is picked before a run begins; resume it without that")
        if self.track and self.out is None:
            raise Refused("a run is tracked in the folder that it is saved in; say which: out=")
        if self.out is None:
            return self
        found = replace(self, resume=self.resume and RunFolder.kind_of(self.out) is not None)
        if not found.resume:
            check_free(self.out, self.overwrite)
        return found

    def among(self, processes: Processes) -> RunContext:
        """Settled, as it is in each of these processes: only the first has a folder and is listened to, and each stops
        if one of them is asked to."""
        if processes.alone:
            return self.settled()
        resume = processes.led(lambda: self.settled().resume)
        control = replace(self.control, asked=lambda: processes.any(self.control.asked()))
        found = replace(self, resume=resume, control=control, processes=processes)
        return (
            found
            if processes.first
            else replace(found, out=None, overwrite=False, resume=False, listen=ignore, track=())
        )

    def start(self, output: Output) -> State:
        """Where the run stands, see `RunFolder.start`."""
        return self._led(lambda: output.start(self.note))

    def _led(self, work: Callable[[], T]) -> T:
        return work() if self.processes is None else self.processes.led(work)

    @property
    def begun(self) -> RunFolder | None:
        """Of a settled context, the run that is gone on with."""
        return RunFolder(self.out) if self.resume and self.out is not None else None

    @contextmanager
    def opened(
        self, kind: str, settings: RunSettings, data: Callable[[], str], given: Mapping[str, str]
    ) -> Iterator[tuple[Output, RunContext]]:
        """Of a settled context, the run's folder, which nobody else can open meanwhile; or `Unsaved`, as in all but the
        first process. With it the context that tells the run's trackers.

        Args:
            kind: ``search`` or ``train``.
            settings: what it was started with.
            data: the fingerprint of its data; only asked for where the run is saved.
            given: files that a new run begins with; one that is gone on with has to have the same genotype.

        Raises:
            Refused: another process works on it, or it is of other settings, data or genotype.
        """
        found: list[Output] = []
        with ExitStack() as stack:
            opened = self._opened(kind, settings, data, given)
            self._led(lambda: found.append(stack.enter_context(opened)))
            output = found[0] if found else Unsaved()
            yield output, replace(self, tracking=stack.enter_context(self._tracked(output, kind)))

    def _tracked(self, output: Output, kind: str) -> AbstractContextManager[Tracking | None]:
        if not isinstance(output, RunFolder):
            return nullcontext()
        from poise.trackers.tracking import tracked  # with what draws curves

        return tracked(output, kind, self.track, self.note, self.resume)

    def finish(
        self, history: Sequence[Mapping[str, Any]], numbers: Mapping[str, Any], facts: Mapping[str, str],
        network: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """Tell the trackers of an opened run how it ended, see `Tracking.finish`."""
        if self.tracking is not None:
            self.tracking.finish(history, numbers, facts, network)

    @contextmanager
    def _opened(
        self, kind: str, settings: RunSettings, data: Callable[[], str], given: Mapping[str, str]
    ) -> Iterator[Output]:
        from poise.config.resolve import dump

        if self.out is None:
            yield Unsaved()
            return
        seen = data()
        with locked(self.out):
            if not self.resume:
                about = environment(settings.device)
                yield RunFolder.create(self.out, kind, dump(settings), seen, self.overwrite, given, about)
                return
            folder = RunFolder.proceed(self.out, kind, dump(settings))
            self._check_data(folder, seen, settings)
            if "genotype.json" in given and folder.genotype().to_json() != given["genotype.json"]:
                raise Refused(f"{self.out} trains another genotype; choose another folder, or pass --overwrite")
            yield folder

    def _check_data(self, folder: RunFolder, data: str, settings: RunSettings) -> None:
        """Data from Python may be made anew each time it is loaded, so there it is only said."""
        if folder.began_with(data):
            return
        changed = f"the data is not the same as when {folder.path} began"
        if settings.data.source != FROM_PYTHON:
            raise Refused(f"{changed}; put it back as it was, or start the run again with --overwrite")
        self.note(f"{changed}, so the result will not be that of a run that was never stopped")

    def recorded(
        self, output: Output, stage: str, history: Sequence[Mapping[str, Any]], live: Callable[[], None] = lambda: None
    ) -> Listener:
        """A listener that writes the record of every epoch of ``stage`` after this history where people look, keeps
        what is noted, and tells `listen` of everything. ``live`` is called once a record is written."""
        if self.tracking is not None:
            self.tracking.begin(history)

        def keep(event: Event) -> None:
            if isinstance(event, EpochEnded) and event.stage == stage:
                output.append(event.record)
                if self.tracking is not None:
                    self.tracking.log(event.record)
                live()
            elif isinstance(event, Noted):
                note(output, stage, event.message)
            self.listen(event)

        return keep

    def going_back(self, module: nn.Module) -> Callable[[State], None]:
        """What puts a module back to how it is now, where it has to start from the beginning."""
        copies = self.control.rollbacks > 0  # else it never has to
        fresh = {name: value.clone() for name, value in module.state_dict().items()} if copies else {}

        def go_back(start: State) -> None:
            if fresh and "trainer" not in start:
                module.load_state_dict(fresh)

        return go_back

    def with_rollbacks(
        self, work: Callable[[Checkpointer, float, Listener], T], output: Output, stage: str, start: State,
        live: Callable[[], None] = lambda: None,
    ) -> T:  # fmt: skip
        """``work(saver, rate, listen)`` with ``rate`` 1, and ``live()`` after every epoch. After each divergence it
        goes back to the last checkpoint, or to the beginning where there is none, and on from there with half the rate
        of before.

        How often it has gone back is part of every state, so that a run that is stopped in between still gives up in
        time. Raises `Diverged` once more than ``control.rollbacks`` times.
        """
        from poise.engine.divergence import Diverged

        back = int(start.get("facts", {}).get("rollbacks", 0))
        while True:
            saver = Checkpointer(output.checkpoints, start, self.control)
            saver.facts["rollbacks"] = back
            output.rewrite_history(saver.history)
            try:
                return work(saver, 0.5**back, self.recorded(output, stage, saver.history, live))
            except Diverged as error:
                if back >= self.control.rollbacks:
                    raise
                told = f"{error}. Going back to the last checkpoint, with half the learning rate"
                note(output, stage, told)
                self.note(told)
                start, back = self.start(output), back + 1
