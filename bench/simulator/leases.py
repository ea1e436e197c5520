"""What a prefill replica keeps for others, under which name and for how long.

A lease ends some seconds after it was granted. It does not end while somebody claims it: the real engine
renews it with heartbeats, here an open claim stands for them.
"""

from collections import OrderedDict
from dataclasses import dataclass

from bench.simulator.sequence import Sequence


@dataclass(slots=True)
class Lease:
    """One ended sequence whose blocks are kept."""

    sequence: Sequence
    ends: float
    """Virtual seconds; of no meaning while it is claimed."""
    claims: int = 0


class Leases:
    """All leases of an engine. It has no clock: callers say what time it is."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._leases: dict[str, Lease] = {}
        self._ending: OrderedDict[str, Lease] = OrderedDict()
        """The unclaimed ones; all last equally long, so the order is that of their ends."""

    def __len__(self) -> int:
        return len(self._leases)

    @property
    def next_end(self) -> float | None:
        """When the first unclaimed lease ends."""
        return next(iter(self._ending.values())).ends if self._ending else None

    def grant(self, name: str, sequence: Sequence, now: float) -> None:
        """Keep a sequence's blocks under a name that nobody else has."""
        self._leases[name] = self._ending[name] = Lease(sequence, now + self._seconds)

    def claim(self, name: str) -> Sequence | None:
        """Hold on to a lease until `unclaim`; None when there is none, or none any more."""
        lease = self._leases.get(name)
        if lease is None:
            return None
        lease.claims += 1
        self._ending.pop(name, None)
        return lease.sequence

    def unclaim(self, name: str, now: float) -> None:
        """Let a claim go; with the last one the lease runs anew."""
        lease = self._leases.get(name)
        if lease is None:
            return
        lease.claims -= 1
        if not lease.claims:
            lease.ends = now + self._seconds
            self._ending[name] = lease

    def take(self, name: str) -> Sequence | None:
        """The blocks have been fetched: the lease is over; None when somebody was faster."""
        lease = self._leases.pop(name, None)
        self._ending.pop(name, None)
        return lease.sequence if lease else None

    def expire(self, now: float) -> list[Sequence]:
        """End the leases whose time has come."""
        ended = []
        while self._ending:
            name, lease = next(iter(self._ending.items()))
            if lease.ends > now:
                break
            ended.append(lease.sequence)
            self.take(name)
        return ended
