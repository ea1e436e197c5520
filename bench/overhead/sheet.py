"""From readings to figures: one row each, with the budget that it is held to."""

from collections.abc import Callable, Mapping
from statistics import median
from typing import Final

from bench.figures import Figure
from bench.overhead.course import FEW, MANY, Readings
from bench.overhead.ground import WITHOUT
from bench.overhead.load import Outcome

Rounds = Mapping[str, list[float]]

SMALL: Final = "CPU per 2 KB request"
CHUNK: Final = "CPU per chunk, 64 streams"
LONG: Final = "CPU per 400 KB prompt"
NET: Final = "  the same, net"


def figures(readings: Readings) -> list[Figure]:
    """Every row of the table."""
    return [*_requests(readings), *_still(readings), *_around(readings)]


def _requests(readings: Readings) -> list[Figure]:
    """What the picker spends on what passes through it."""
    gross, net = _spent(readings, 1e6), _spent(readings, 1e6, net=True)
    heavy, heavy_net = _spent(readings, 1e3), _spent(readings, 1e3, net=True)
    few, many = f"long_{FEW}", f"long_{MANY}"
    return [
        Figure("small_closed", f"{SMALL}, closed loop of 32", "µs", gross("closed", FEW), 150.0),
        Figure("small_closed_net", NET, "µs", net("closed", FEW)),
        Figure("small_open", f"{SMALL}, 200 a second", "µs", gross("paced", FEW), 500.0),
        Figure("small_open_net", NET, "µs", net("paced", FEW)),
        Figure("chunk_gross", f"{CHUNK}, gross", "µs", gross("streams", FEW)),
        Figure("chunk", f"{CHUNK}, net", "µs", net("streams", FEW), 20.0),
        Figure("long_10", f"{LONG}, 10 endpoints", "ms", heavy(few, FEW)),
        Figure("long_10_net", NET, "ms", heavy_net(few, FEW)),
        Figure("long_100", f"{LONG}, 100 endpoints", "ms", heavy(many, MANY), 3.0),
        Figure("long_100_net", NET, "ms", heavy_net(many, MANY)),
    ]


def _still(readings: Readings) -> list[Figure]:
    """What it takes without any request."""
    values = readings.values
    return [
        Figure("idle_10", "idle, 10 endpoints scraped", "cores", values["idle_10"]),
        Figure("idle_100", "idle, 100 endpoints scraped", "cores", values["idle_100"], 0.10),
        Figure("memory_start", "memory, 100 endpoints, empty index", "MiB", values["memory_start"]),
        Figure("memory", "memory, 100 endpoints, full index", "MiB", values["memory"], 400.0),
        Figure("import", "import", "s", values["import"]),
        Figure("start", "start, import included", "s", values["start"], 1.0),
    ]


def _around(readings: Readings) -> list[Figure]:
    """What others pay: the client in time, Envoy in CPU."""
    envoy = _spent(readings, 1e6, of="envoy")
    outcomes = readings.outcomes
    rate = {
        side: [each.requests / each.seconds for each in runs] for side, runs in outcomes["closed"].items()
    }
    return [
        *(row for q in ("p50", "p99") for row in (_latency(readings, q), _added(readings, q))),
        Figure("throughput", "throughput, closed loop of 32", "1/s", rate),
        Figure("envoy_small", "Envoy's CPU per 2 KB request", "µs", envoy("closed", FEW)),
        Figure("envoy_chunk", "Envoy's CPU per chunk", "µs", envoy("streams", FEW)),
    ]


def _latency(readings: Readings, q: str) -> Figure:
    rounds = {
        side: [each.latency_ms[q] for each in runs] for side, runs in readings.outcomes["paced"].items()
    }
    return Figure(f"latency_{q}", f"latency {q}, 200 requests a second", "ms", rounds)


def _added(readings: Readings, q: str) -> Figure:
    """Round by round against the Envoy that asks nobody."""
    rounds = dict(_latency(readings, q).rounds)
    without = rounds.pop(WITHOUT)
    added = {
        side: [here - there for here, there in zip(values, without, strict=True)]
        for side, values in rounds.items()
    }
    return Figure(f"added_{q}", f"  added by the picker, {q}", "ms", added)


def _spent(
    readings: Readings, scale: float, *, of: str = "picker", net: bool = False
) -> Callable[[str, int], Rounds]:
    """CPU of a process for each request (event, where there are any), round by round."""

    def rounds(traffic: str, endpoints: int) -> Rounds:
        idle = readings.values[f"idle_{endpoints}"] if net else {}
        found: dict[str, list[float]] = {}
        for side, runs in readings.outcomes[traffic].items():
            if of in runs[0].cpu:
                still = median(idle[side]) if net else 0.0
                found[side] = [scale * (each.cpu[of] - still * each.seconds) / _count(each) for each in runs]
        return found

    return rounds


def _count(outcome: Outcome) -> int:
    return outcome.events or max(1, outcome.requests)
