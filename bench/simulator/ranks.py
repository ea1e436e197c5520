"""The engines behind one port, and which of them serves a request, as vLLM balances them by itself."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from bench.simulator.config import ReplicaConfig
from bench.simulator.replica import Replica
from bench.simulator.requests import bad_request

RANK_HEADER: Final = "X-data-parallel-rank"
REFRESH_S: Final = 0.1
"""Virtual seconds between two looks at the engines' queues."""


class Ranks:
    """Data-parallel engines with consecutive ranks; most replicas have one."""

    def __init__(self, config: ReplicaConfig) -> None:
        self.replicas = [Replica(_of_rank(config, index)) for index in range(config.ranks)]
        self._in_flight = [0] * config.ranks
        self._gauges = [replica.telemetry.gauges for replica in self.replicas]
        self._looked = 0.0

    def choose(self, headers: Mapping[str, str]) -> int:
        """The index of the engine to use; Refused when the client names one that is not here."""
        try:
            pinned = int(headers.get(RANK_HEADER, ""))
        except ValueError:
            return self._least_loaded()
        if not 0 <= pinned < len(self.replicas):
            raise bad_request(f"data_parallel_rank {pinned} is out of range [0, {len(self.replicas)}).")
        return pinned

    def enter(self, index: int) -> Replica:
        """Send a request there; `leave` when it has ended."""
        self._in_flight[index] += 1
        return self.replicas[index]

    def leave(self, index: int) -> None:
        """A request has ended."""
        self._in_flight[index] -= 1

    def _least_loaded(self) -> int:
        if len(self.replicas) == 1:
            return 0
        now = self.replicas[0].clock.now
        if now - self._looked >= REFRESH_S:
            self._gauges, self._looked = [each.telemetry.gauges for each in self.replicas], now
        return min(range(len(self.replicas)), key=self._load)

    def _load(self, index: int) -> float:
        """vLLM's formula for one API server; ties go to the lowest rank."""
        gauges = self._gauges[index]
        requests = max(self._in_flight[index], gauges.waiting + gauges.running)
        return requests + gauges.waiting * 6 * max(0.0, gauges.usage - 0.5)


def _of_rank(config: ReplicaConfig, index: int) -> ReplicaConfig:
    """The configuration of one engine behind the port."""
    transfer = config.transfer
    if transfer and transfer.port:
        transfer = replace(transfer, port=transfer.port + index)
    engine = replace(config.engine, seed=config.engine.seed + index)
    return replace(config, engine=engine, transfer=transfer, rank=config.rank + index, ranks=1)
