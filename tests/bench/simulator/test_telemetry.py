"""Telemetry in virtual time: what it counts where the HTTP tests cannot bring the engine."""

from bench.simulator.config import EngineConfig, ReplicaConfig
from bench.simulator.engine import Engine
from bench.simulator.sequence import Sequence
from bench.simulator.telemetry import Telemetry

CONFIG = ReplicaConfig(
    engine=EngineConfig(block_size=4, num_blocks=6, max_num_seqs=4, max_num_batched_tokens=64),
    max_model_len=24,
)


def test_a_preempted_request_has_one_first_token_and_one_longer_pause() -> None:
    engine, telemetry, now = Engine(CONFIG.engine), Telemetry(CONFIG), 0.0
    for _ in range(2):
        engine.submit(Sequence(8, 9), now)
    pauses = []
    while engine.busy:
        outcome = engine.step(now)
        start, now = now, now + outcome.duration
        telemetry.count_step(outcome, start, now)
        pauses += [now - start] * len(outcome.decoded)
        pauses += [now - each.paused for each in outcome.started if each.preemptions]
    assert engine.preemptions == 1
    assert telemetry.totals.generation_tokens == 18
    assert telemetry.totals.prompt_tokens == 16
    pages = {name: each.render() for name, each in telemetry.histograms.items()}
    assert '_count{engine="0",model_name="Qwen/Qwen3-32B"} 2.0' in pages["time_to_first_token_seconds"]
    assert '_count{engine="0",model_name="Qwen/Qwen3-32B"} 16.0' in pages["inter_token_latency_seconds"]
    assert max(pauses) > 3 * min(pauses)
    assert len(pauses) == 16


def test_gauges_change_only_when_published() -> None:
    engine, telemetry = Engine(CONFIG.engine), Telemetry(CONFIG)
    engine.submit(Sequence(8, 9), 0.0)
    engine.step(0.0)
    assert telemetry.gauges.running == 0
    telemetry.publish(engine)
    assert (telemetry.gauges.running, telemetry.gauges.waiting, telemetry.gauges.usage) == (1, 0, 2 / 6)


def test_adapter_sets_are_remembered_up_to_a_bound() -> None:
    config = ReplicaConfig(engine=EngineConfig(max_loras=1), enable_lora=True)
    engine, telemetry = Engine(config.engine), Telemetry(config)
    for number in range(200):
        sequence = Sequence(1, 2, adapter=f"adapter-{number}")
        engine.submit(sequence, 0.0)
        engine.step(0.0)
        telemetry.publish(engine)
        engine.abort(sequence)
    assert len(telemetry.adapters) == 64
    assert next(reversed(telemetry.adapters)) == ("adapter-199", "")
