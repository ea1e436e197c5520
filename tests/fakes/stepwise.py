"""One engine driven in the plainest way, step by step and token by token, for others to be compared with."""

from collections.abc import Sequence

from bench.fleet import text
from bench.fleet.traffic import Request
from bench.simulator.config import EngineConfig
from bench.simulator.engine import Engine
from bench.simulator.sequence import Sequence as EngineSequence


def token_times(
    config: EngineConfig, requests: Sequence[Request], block_tokens: int
) -> tuple[list[list[float]], Engine]:
    """When each request got each of its tokens, in the order of `requests`; by arrival."""
    engine, now = Engine(config), 0.0
    places: dict[EngineSequence, int] = {}
    times: list[list[float]] = [[] for _ in requests]
    pending = list(enumerate(requests))
    while pending or engine.busy:
        if not engine.busy:
            now = max(now, pending[0][1].arrival)
        while pending and pending[0][1].arrival <= now:
            place, each = pending.pop(0)
            hashes = text.hashes(each, block_tokens, config.block_size)
            sequence = EngineSequence(each.prompt_tokens, each.output_tokens, hashes, each.adapter)
            places[sequence] = place
            engine.submit(sequence, now)
        outcome = engine.step(now)
        now += outcome.duration
        for sequence in (*outcome.started, *outcome.decoded):
            times[places[sequence]].append(now)
    return times, engine
