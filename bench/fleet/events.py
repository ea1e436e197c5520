"""What caches have stored and removed, as engines' events tell it: all of it, in order, a set delay later.

A block counts as stored from the beginning of the step that computes it. Whoever feeds an index subscribes
before the first request, and catches up each time before it looks at that.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from bench.fleet.replica import Replica
from bench.simulator.blocks import Change

Tell = Callable[[int, Change, int], None]
"""Number of the replica, what happened to a block there, and the block's hash (0 where it is about all)."""


class Events:
    """Of all replicas, to all who want them."""

    def __init__(self, replicas: Sequence[Replica], delay: float, clock: Callable[[], float]) -> None:
        self._replicas, self._delay, self._clock = replicas, delay, clock
        self._listeners: list[Tell] = []
        self._coming: deque[tuple[float, int, Change, int]] = deque()
        """(when it is due, and what is told), the first first."""

    def subscribe(self, tell: Tell) -> None:
        """Be told of everything from now on; caches that nobody asks about cost nothing."""
        if not self._listeners:
            for replica in self._replicas:
                replica.watch(self._note)
        self._listeners.append(tell)

    def catch_up(self) -> None:
        """Tell what has become due."""
        now, coming = self._clock(), self._coming
        while coming and coming[0][0] <= now:
            _, replica, change, block = coming.popleft()
            for tell in self._listeners:
                tell(replica, change, block)

    def _note(self, replica: int, change: Change, block: int) -> None:
        self._coming.append((self._clock() + self._delay, replica, change, block))


class LateCaches:
    """What caches held `delay` seconds ago."""

    def __init__(self, events: Events, replicas: int) -> None:
        self._events = events
        self._held: list[set[int]] = [set() for _ in range(replicas)]
        events.subscribe(self._told)

    def match(self, replica: int, hashes: Iterable[int]) -> int:
        """How many leading blocks are known to be there."""
        self._events.catch_up()
        held, count = self._held[replica], 0
        for block in hashes:
            if block not in held:
                break
            count += 1
        return count

    def _told(self, replica: int, change: Change, block: int) -> None:
        held = self._held[replica]
        if change is Change.STORED:
            held.add(block)
        elif change is Change.REMOVED:
            held.discard(block)
        else:
            held.clear()
