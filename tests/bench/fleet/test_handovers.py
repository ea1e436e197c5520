"""Prompts computed on one replica and decoded on another: what that takes, and that nothing is lost."""

import random
from dataclasses import replace

import numpy as np
import pytest

from bench.fleet.driver import Run
from bench.fleet.fleet import Fleet, Incident, prefill_decode, prefill_seconds
from bench.fleet.outcome import Fate
from bench.fleet.picker import Picker
from bench.fleet.policy import PolicySpec
from bench.fleet.roster import find, shipped
from bench.fleet.traffic import Request, Workload
from bench.simulator.config import TransferConfig
from bench.simulator.sequence import Sequence
from tests.fakes.virtual import BLOCK, ENGINE, request, run, singles, stream

TRANSFER = TransferConfig(bytes_per_token=1000, bandwidth=1e6, latency_s=0.01, lease_s=2.0)
"""1 ms a token."""
APART = [name for name in shipped() if name.startswith("pd-")]


def apart(replicas: int = 2, **changes: object) -> Fleet:
    """Replica 0 computes prompts, 1 decodes, and so on."""
    engine = replace(ENGINE, num_blocks=changes.pop("num_blocks", ENGINE.num_blocks))  # type: ignore[arg-type]
    made = replace(prefill_decode(replicas, engine), transfer=TRANSFER)
    return replace(made, **changes)  # type: ignore[arg-type]


def always(**parameters: str) -> PolicySpec:
    """Every prompt is computed elsewhere, whatever is cached where."""
    way = "".join(f", {key}: {value}" for key, value in parameters.items())
    return PolicySpec(
        "always",
        config=f"""
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- {{type: disagg-profile-handler, parameters: {{deciders: {{prefill: always-disagg-pd-decider}}{way}}}}}
- type: always-disagg-pd-decider
- type: prefill-filter
- type: decode-filter
- type: token-load-scorer
- type: inflight-load-producer
schedulingProfiles:
- {{name: prefill, plugins: [{{pluginRef: prefill-filter}}, {{pluginRef: token-load-scorer}}]}}
- {{name: decode, plugins: [{{pluginRef: decode-filter}}, {{pluginRef: token-load-scorer}}]}}
""",
    )


def one_token(prompt: int) -> float:
    """Seconds of the step that computes the last token of a prompt that is there."""
    return ENGINE.fixed_s + ENGINE.prefill_token_s + (prompt - 1) * ENGINE.cached_token_s


def traffic(seed: int, count: int = 60) -> list[Request]:
    """More than the caches hold at times; some begin alike."""
    rng, now, requests = random.Random(seed), 0.0, []
    for _ in range(count):
        now += rng.expovariate(8.0)
        first = rng.choice([0, 0, 100_000, rng.randrange(10**6) * 1000])
        requests.append(request(rng.randint(1, 1500), rng.randint(1, 200), at=now, first=first))
    return requests


# === what it takes ===


@pytest.mark.parametrize("prompt", [17, 160, 1500])
def test_alone_a_prompt_takes_prefill_transfer_and_one_step(prompt: int) -> None:
    outcome = run(apart(), singles(request(prompt, 5)), always())
    expected = prefill_seconds(ENGINE, prompt) + TRANSFER.seconds(prompt) + one_token(prompt)
    assert outcome.ttft[0] == pytest.approx(expected, rel=1e-9)
    assert (outcome.replica[0], outcome.prefiller[0]) == (1, 0)
    step = ENGINE.fixed_s + ENGINE.decode_sequence_s + (prompt + 1.5) * ENGINE.cached_token_s
    assert outcome.tpot[0] == pytest.approx(step, rel=1e-9)


def test_of_the_next_turn_each_side_does_what_it_lacks() -> None:
    """Who computes has the last prompt, who decodes also the answer to it."""
    talk = [request(160, 80), request(480, 2, think=1.0)]
    outcome = run(apart(), Workload.of("test", [talk], BLOCK), always())
    held = 160 + 80 - BLOCK  # of the last token nothing was kept, so its block is not full
    expected = prefill_seconds(ENGINE, 480, cached=160) + TRANSFER.seconds(480 - held) + one_token(480)
    assert outcome.ttft[1] == pytest.approx(expected, rel=1e-9)
    assert outcome.cached_tokens.tolist() == [0, 160]


def test_usage_tells_what_was_cached_where_the_prompt_was_computed() -> None:
    talk = [request(160, 80), request(480, 2, think=1.0)]
    play = Run(apart(), Workload.of("test", [talk], BLOCK), always(), seed=1)
    told, end = [], play.pickers[0].end

    def noted(asked: Request, served: Sequence) -> None:
        told.append((served.prompt_tokens, served.output_tokens, served.cached))
        end(asked, served)

    play.pickers[0].end = noted  # type: ignore[method-assign, assignment]
    play.play()
    assert told == [(160, 80, 0), (480, 2, 160)]


def test_a_short_prompt_stays_where_it_is_decoded() -> None:
    outcome = run(apart(), singles(request(160, 5), request(800, 5, at=5.0, first=1000)), "pd-work")
    assert outcome.prefiller.tolist() == [-1, 0]
    assert outcome.replica.tolist() == [1, 1]
    assert outcome.ttft[0] == pytest.approx(prefill_seconds(ENGINE, 160))


def test_who_decodes_is_not_kept_waiting_by_prompts() -> None:
    long = [request(1500, 2, at=0.5, first=10_000), request(1500, 2, at=0.6, first=20_000)]
    what = singles(request(160, 200), *long)
    outcome = run(apart(num_blocks=2000), what, always())
    together = run(replace(apart(num_blocks=2000), roles=()), what, "least-request")
    assert outcome.longest_gap[0] < 0.02
    assert together.longest_gap.max() > 0.03


@pytest.mark.parametrize("seed", range(3))
def test_steps_taken_together_are_the_same_as_one_by_one(seed: int) -> None:
    """With jitter, however small, every step is taken on its own."""
    what, where = singles(*traffic(seed)), apart(4)
    one = replace(where, engines=tuple(replace(each, jitter=1e-13) for each in where.engines))
    spec = always()
    together, single = run(where, what, spec), run(one, what, spec)
    assert together.replica.tolist() == single.replica.tolist()
    for figure in ("ttft", "tpot", "longest_gap"):
        np.testing.assert_allclose(getattr(together, figure), getattr(single, figure), rtol=1e-6)


# === nothing is lost ===


@pytest.mark.parametrize("policy", APART)
@pytest.mark.parametrize("seed", range(3))
def test_all_blocks_and_charges_come_back(policy: str, seed: int) -> None:
    incidents = (
        Incident(1.0, 0, "dies"),
        Incident(2.0, 3, "dies"),
        Incident(3.0, 0, "joins"),
        Incident(3.5, 3, "joins"),
        Incident(4.0, 2, "slows", 5.0),
    )
    play = Run(apart(4, incidents=incidents, detection=0.3), singles(*traffic(seed)), find(policy), seed)
    play.play()
    outcome = play.notes.outcome(policy, play.replicas)
    assert (outcome.fate == Fate.SERVED).mean() > 0.7
    assert (outcome.prefiller[outcome.fate == Fate.SERVED] >= 0).any()
    for replica in play.replicas:
        assert replica.next is None
        assert not replica.jobs
        assert not replica.engine.transfers.kept
        assert replica.engine.cache.free == ENGINE.num_blocks
    for picker in play.pickers:
        assert isinstance(picker, Picker)
        table = picker.table
        for column in (table.in_flight, table.in_flight_tokens, table.prefill_tokens, table.prompt_tokens):
            assert not column.any()


@pytest.mark.parametrize("policy", APART)
def test_the_same_seed_gives_the_same_outcome(policy: str) -> None:
    where = apart(4, pickers=2, scrape_interval=0.3)
    one, other = (run(where, singles(*traffic(1)), policy, seed=5) for _ in range(2))
    for figure in ("replica", "prefiller", "ttft", "tpot"):
        np.testing.assert_array_equal(getattr(one, figure), getattr(other, figure))


# === what goes wrong ===


def test_a_prompt_whose_replica_dies_is_computed_where_it_is_decoded() -> None:
    dies = Incident(0.05, 0, "dies")
    outcome = run(apart(incidents=(dies,)), singles(request(1500, 5)), always())
    assert outcome.fate[0] == Fate.SERVED
    assert outcome.prefiller[0] == -1
    assert outcome.ttft[0] == pytest.approx(0.05 + prefill_seconds(ENGINE, 1500))


@pytest.mark.parametrize(("recompute", "fate"), [(False, Fate.FAILED), (True, Fate.SERVED)])
def test_a_prompt_that_is_lost_before_it_was_fetched_is_lost(recompute: bool, fate: Fate) -> None:
    """A transfer takes 1.5 s; in its midst the source dies."""
    transfer = replace(TRANSFER, recompute=recompute)
    where = apart(transfer=transfer, incidents=(Incident(1.0, 0, "dies"),))
    outcome = run(where, singles(request(1500, 5)), always())
    assert outcome.fate[0] == fate
    assert outcome.busy[1] > 0.05 if recompute else outcome.busy[1] == 0.0


def test_blocks_that_nobody_fetches_are_kept_until_the_lease_ends() -> None:
    """The target dies during the transfer; the source has room for one prompt at a time."""
    incidents = (Incident(0.5, 1, "dies"), Incident(0.55, 2, "joins"))
    engines = (replace(ENGINE, num_blocks=100),) * 3
    where = replace(apart(), engines=engines, roles=("prefill", "decode", "decode"), incidents=incidents)
    what = singles(request(1500, 2), request(1500, 2, at=0.6, first=5000))
    outcome = run(replace(where, detection=0.0), what, always())
    assert outcome.fate.tolist() == [Fate.FAILED, Fate.SERVED]
    assert outcome.replica.tolist() == [1, 2]
    waited = 0.5 + TRANSFER.lease_s - 0.6
    rest = prefill_seconds(ENGINE, 1500) + TRANSFER.seconds(1500) + one_token(1500)
    assert outcome.ttft[1] == pytest.approx(waited + rest)


# === what a picker knows ===


@pytest.mark.parametrize("way", ["sidecar", "inline"])
def test_only_who_has_prompts_computed_itself_knows_when_they_are(way: str) -> None:
    play = Run(apart(), singles(request(1500, 5)), always(disaggregation=way), seed=1)
    (picker,) = play.pickers
    assert isinstance(picker, Picker)
    seen: list[tuple[str, list[int]]] = []

    def note(name: str) -> None:
        usual = getattr(picker, name)

        def noted(*arguments: object) -> object:
            answer = usual(*arguments)
            assert isinstance(picker, Picker)
            rows = (picker.table.in_flight, picker.table.prefill_tokens, picker.table.pending)
            seen.append((name, [int(column[0]) for column in rows]))
            return answer

        setattr(picker, name, noted)

    for name in ("prefiller", "prefilled", "first_token", "end"):
        note(name)
    play.play()
    charged, free = [1, 1500, 1], [0, 0, 0]
    assert seen == [
        ("prefiller", charged),
        ("prefilled", free if way == "inline" else charged),
        ("first_token", free),
        ("end", free),
    ]


def test_baselines_use_every_replica_for_whole_requests() -> None:
    outcome = run(apart(4), singles(*stream(20, every=0.2)), "round-robin")
    assert set(outcome.replica) == {0, 1, 2, 3}
    assert (outcome.prefiller == -1).all()


def test_one_replica_cannot_be_two() -> None:
    with pytest.raises(ValueError, match="2 or more"):
        prefill_decode(1)
    with pytest.raises(ValueError, match="1 roles for 2 replicas"):
        replace(prefill_decode(2), roles=("prefill",))
