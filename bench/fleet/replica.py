"""One engine with a clock: when its steps begin and end, and whom it serves.

Steps in which everybody only gains a token are taken together (`Engine.uneventful`), and cut short when
somebody arrives: a fleet spends most of its steps so.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from bench.fleet.fleet import slowed
from bench.fleet.gaps import Gaps
from bench.fleet.pages import Pages
from bench.fleet.traffic import Request
from bench.simulator.blocks import Change
from bench.simulator.config import EngineConfig
from bench.simulator.engine import Engine, StepOutcome
from bench.simulator.sequence import Sequence
from endpoint_picker.core.endpoints import Gauges


@dataclass(slots=True, eq=False)
class Job:
    """One request that a replica serves."""

    request: Request
    sequence: Sequence
    picker: int
    """Which of the pickers chose."""
    step: int = 0
    """The replica's first step that its next gaps are of."""
    longest_gap: float = 0.0
    stopped: float = -1.0
    """When it got its last token, if it lost its place in the batch since; else negative."""
    elsewhere: Sequence | None = None
    """Its prompt, where another replica has computed that."""

    @property
    def cached(self) -> int:
        """Prompt tokens that nobody had to compute for it; known once the first token is there."""
        return (self.elsewhere or self.sequence).cached

    @property
    def served(self) -> Sequence:
        """What the end of its answer tells of."""
        return self.sequence if self.elsewhere is None else replace(self.sequence, cached=self.cached)


@dataclass(frozen=True, slots=True)
class _Run:
    """What goes on: one step with an outcome, or `strides` uneventful ones."""

    begin: float
    end: float
    longest: float
    """Seconds of its longest step."""
    strides: int
    outcome: StepOutcome | None


@dataclass(frozen=True, slots=True)
class Ended:
    """What the end of a run brought."""

    started: list[Job]
    """Got their first token."""
    finished: list[Job]


_NOBODY = Ended([], [])


class Replica:
    """One engine. Its caller asks it at the time that `next` says, and no later."""

    def __init__(self, number: int, config: EngineConfig, *, horizon: float, alive: bool = True) -> None:
        self.number = number
        self.config = config
        self.engine = Engine(config)
        self.alive = alive
        """Whether anybody answers at its address."""
        self.jobs: dict[Sequence, Job] = {}
        self.gaps = Gaps()
        self.busy = 0.0
        """Seconds in which it computed."""
        self.turn = 0
        """Grows whenever `next` changes: what was meant for an earlier turn is void."""
        self.fetching: list[Job] = []
        """Whose prompts it has room for, to be fetched from now on; who takes note of them removes them."""
        self._run: _Run | None = None
        self._watcher: Callable[[Change, int], None] | None = None
        self._pages = Pages(self.engine, horizon)

    @property
    def next(self) -> float | None:
        """When the run ends; None: it is idle."""
        return None if self._run is None else self._run.end

    def submit(self, job: Job, now: float) -> None:
        """Serve one more. ValueError when it could never fit."""
        self.engine.submit(job.sequence, now)
        self.jobs[job.sequence] = job
        self._pages.adapters |= bool(job.request.adapter)
        if self._run is None:
            self._begin(now)
        else:
            self._cut(now)

    def fetched(self, job: Job, now: float) -> None:
        """The KV entries of its prompt are here."""
        self._cut(now)
        self.engine.fetched(job.sequence)
        self._stirred(now)

    def not_fetched(self, job: Job, now: float, *, recompute: bool) -> None:
        """They do not come: its prompt is computed here, or it fails."""
        self._cut(now)
        self.engine.fetch_failed(job.sequence, recompute=recompute)
        if not recompute:
            del self.jobs[job.sequence]
        self._stirred(now)

    def release(self, sequence: Sequence, now: float) -> None:
        """Keep the blocks of an ended prompt no longer."""
        self._cut(now)
        self.engine.release(sequence)
        self._stirred(now)

    def proceed(self) -> Ended:
        """The run has ended: what it brought; the next one begins at once, if there is something to do."""
        run = self._run
        assert run is not None
        self._run = None
        ended = self._settle(run)
        self._pages.show(run.end)
        self._begin(run.end)
        return ended

    def slow(self, factor: float, now: float) -> None:
        """From the next step on, each takes so many times as long as configured."""
        self._cut(now)
        self.engine.config = slowed(self.config, factor)

    def die(self, now: float) -> list[Job]:
        """All is lost; answers whom it served."""
        lost = list(self.jobs.values())
        self.busy += 0.0 if self._run is None else now - self._run.begin
        self.alive = False
        self._empty()
        return lost

    def revive(self, now: float) -> None:
        """An empty engine takes its place."""
        self.alive = True
        self._empty()
        self.engine = Engine(self.config)
        self.engine.cache.watcher = self._watcher
        if self._watcher is not None:
            self._watcher(Change.CLEARED, 0)
        self._pages.begin(self.engine, now)

    def watch(self, tell: Callable[[int, Change, int], None]) -> None:
        """Tell what the cache stores and removes from now on, with this replica's number."""
        self._watcher = self.engine.cache.watcher = partial(tell, self.number)

    def gauges_at(self, time: float) -> Gauges | None:
        """What the page showed; None where the engine was not there."""
        return self._pages.at(time, self.engine)

    def _empty(self) -> None:
        self.jobs.clear()
        self.fetching.clear()
        self._run = None
        self.turn += 1

    def _begin(self, now: float) -> None:
        engine = self.engine
        self.turn += 1
        if not engine.busy:
            return
        strides = engine.uneventful()
        if strides > 1:
            self._run = self._strides(now, strides)
            return
        outcome = engine.step(now)
        self.fetching += (self.jobs[sequence] for sequence in outcome.fetching)
        self._run = _Run(now, now + outcome.duration, outcome.duration, 0, outcome)
        self._pages.report(engine)

    def _stirred(self, now: float) -> None:
        """Blocks came or went outside of any step: an idle engine tells at once, another one when it can."""
        if self._run is not None:
            self._pages.report_usage(self.engine)
            return
        self._pages.report(self.engine)
        self._pages.show(now)
        self._begin(now)

    def _strides(self, begin: float, count: int) -> _Run:
        seconds = self.engine.stride_seconds(count)
        return _Run(begin, begin + seconds, seconds - self.engine.stride_seconds(count - 1), count, None)

    def _cut(self, now: float) -> None:
        """Whoever comes in the midst of uneventful steps joins at the end of the one that runs."""
        run, engine = self._run, self.engine
        if run is None or not run.strides:
            return
        strides = 1 + bisect_left(range(1, run.strides), now - run.begin, key=engine.stride_seconds)
        if strides < run.strides:
            self._run = self._strides(run.begin, strides)
            self.turn += 1

    def _settle(self, run: _Run) -> Ended:
        self.busy += run.end - run.begin
        if run.outcome is None:
            mean, engine = (run.end - run.begin) / run.strides, self.engine
            self.gaps.add(mean, engine.decoding * run.strides, run.longest)
            engine.stride(run.strides)
            return _NOBODY
        outcome, jobs, gaps = run.outcome, self.jobs, self.gaps
        for sequence in outcome.preempted:
            self._stop(jobs[sequence], run.begin)
        gaps.add(outcome.duration, len(outcome.decoded), outcome.duration)
        started = [jobs[sequence] for sequence in outcome.started if self._resumes(jobs[sequence], run)]
        finished = [jobs.pop(sequence) for sequence in outcome.finished]
        for job in finished:
            job.longest_gap = max(job.longest_gap, gaps.longest_since(job.step))
        return Ended(started, finished)

    def _stop(self, job: Job, now: float) -> None:
        """It has lost its place; if it had tokens already, the next one is late."""
        if job.sequence.first_token >= 0.0 and job.stopped < 0.0:
            job.longest_gap = max(job.longest_gap, self.gaps.longest_since(job.step))
            job.stopped = now

    def _resumes(self, job: Job, run: _Run) -> bool:
        """Note that its prompt is computed; answers whether that was the first time."""
        job.step = self.gaps.steps
        if job.stopped < 0.0:
            return True
        pause = run.end - job.stopped
        self.gaps.pause(pause)
        job.longest_gap = max(job.longest_gap, pause)
        job.stopped = -1.0
        return False
