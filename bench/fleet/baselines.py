"""Policies that know nothing of prompts: what a load balancer offers anyway."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from random import Random

from bench.fleet.policy import World
from bench.fleet.traffic import Request
from bench.simulator.sequence import Sequence as EngineSequence
from endpoint_picker.core.errors import REJECTED_NO_ENDPOINTS, ServiceUnavailable


class Baseline(ABC):
    """Remembers who is there, and which replica has which of its requests."""

    def __init__(self, world: World, rng: Random) -> None:
        self.world, self.rng = world, rng
        self.there: Sequence[int] = ()
        self.in_flight: Counter[int] = Counter()
        """Replica → requests."""
        self._sent: dict[int, int] = {}

    def choose(self, request: Request) -> int:
        if not self.there:
            raise ServiceUnavailable("there is no replica", reason=REJECTED_NO_ENDPOINTS)
        replica = self.best(request)
        self._sent[request.number] = replica
        self.in_flight[replica] += 1
        self.sent(request, replica)
        return replica

    def prefiller(self, request: Request) -> int | None:
        return None

    def prefilled(self, request: Request) -> None:  # noqa: B027
        """Never, since nothing is computed elsewhere."""

    def not_prefilled(self, request: Request) -> None:  # noqa: B027
        """The same."""

    def first_token(self, request: Request) -> None:
        self.started(request, self._sent[request.number])

    def end(self, request: Request, served: EngineSequence) -> None:
        self._gone(request)

    def failed(self, request: Request, status: int) -> None:
        self._gone(request)

    def members(self, replicas: Sequence[int]) -> None:
        self.there = tuple(replicas)

    # === what one of them adds; the last three it may leave alone ===

    @abstractmethod
    def best(self, request: Request) -> int:
        """Who of those that are there is to serve it."""

    def sent(self, request: Request, replica: int) -> None:  # noqa: B027
        """It goes there."""

    def started(self, request: Request, replica: int) -> None:  # noqa: B027
        """Its prompt is computed."""

    def over(self, request: Request, replica: int) -> None:  # noqa: B027
        """It has ended, whatever way, perhaps without having started."""

    def least(self, costs: Sequence[float]) -> int:
        """Who of those that are there has the lowest cost; of several, any."""
        lowest = min(costs)
        return self.rng.choice([each for each, cost in zip(self.there, costs, strict=True) if cost == lowest])

    def _gone(self, request: Request) -> None:
        replica = self._sent.pop(request.number)
        self.in_flight[replica] -= 1
        self.over(request, replica)


class RoundRobin(Baseline):
    """One after the other; each picker begins anywhere."""

    def __init__(self, world: World, rng: Random) -> None:
        super().__init__(world, rng)
        self._turn = rng.randrange(len(world.replicas))

    def best(self, request: Request) -> int:
        self._turn += 1
        return self.there[self._turn % len(self.there)]


class LeastRequest(Baseline):
    """The fewest requests in flight, by this picker's own count: Envoy's LEAST_REQUEST that looks at all."""

    def best(self, request: Request) -> int:
        return self.least([self.in_flight[each] for each in self.there])
