import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from bench.fleet import workloads
from bench.fleet.traffic import Workload
from bench.fleet.workloads import talks

TURNS = 6
MADE = [name for name in workloads.WORKLOADS if name not in workloads.TRACES]
NOWHERE = Path("/nowhere")


def make(name: str, *, rate: float = 5.0, requests: int = 600, seed: int = 1, at: Path = NOWHERE) -> Workload:
    return workloads.make(name, rate=rate, requests=requests, seed=seed, traces_at=at)


@pytest.mark.parametrize("name", MADE)
def test_a_seed_makes_the_same_requests(name: str) -> None:
    assert make(name) == make(name)
    assert make(name) != make(name, seed=2)


@pytest.mark.parametrize("name", MADE)
def test_there_are_as_many_as_ordered_and_all_make_sense(name: str) -> None:
    made = make(name)
    assert len(made) == 600
    assert [each.number for each in made] == list(range(600))
    for each in made:
        assert each.prompt_tokens >= 1
        assert each.output_tokens >= 1
        assert len(each.blocks) >= -(-each.prompt_tokens // made.block_tokens)


@pytest.mark.parametrize("name", MADE)
def test_an_id_stands_for_all_that_comes_before_it(name: str) -> None:
    before: dict[int, int] = {}
    for each in make(name):
        for place, block in enumerate(each.blocks):
            parent = each.blocks[place - 1] if place else -1
            assert before.setdefault(block, parent) == parent


@pytest.mark.parametrize("name", [name for name in MADE if name not in ("chat", "agentic")])
def test_requests_come_at_the_rate_that_was_ordered(name: str) -> None:
    made = make(name, rate=50.0, requests=9000)
    last = max(each.arrival for each in made)
    assert 9000 / last == pytest.approx(50.0, rel=0.1)


@pytest.mark.parametrize(("name", "turns"), [("chat", talks.PEOPLE.turns), ("agentic", talks.PROGRAMS.turns)])
def test_conversations_begin_so_that_requests_come_at_that_rate(name: str, turns: float) -> None:
    made = make(name, rate=50.0, requests=9000)
    starts = [session[0].arrival for session in made.sessions]
    assert len(starts) / max(starts) * turns == pytest.approx(50.0, rel=0.25)


@pytest.mark.parametrize("name", ["chat", "agentic"])
def test_a_prompt_is_all_that_was_said_and_a_question(name: str) -> None:
    for session in make(name).sessions:
        assert len({each.session for each in session}) == 1
        for before, each in pairwise(session):
            assert each.prompt_tokens > before.prompt_tokens + before.output_tokens
            assert each.blocks[: len(before.blocks)] == before.blocks
            assert each.think > 0.0


def test_what_each_is_about() -> None:
    prompts = {name: np.median([each.prompt_tokens for each in make(name)]) for name in MADE}
    outputs = {name: np.median([each.output_tokens for each in make(name)]) for name in MADE}
    assert prompts["agentic"] > 3 * prompts["chat"]
    assert outputs["reasoning"] > 5 * outputs["shared-prefix"]
    assert outputs["agentic"] < 150
    assert len({each.adapter for each in make("lora")}) == 12
    blocks = [block for each in make("unshared") for block in each.blocks]
    assert len(blocks) == len(set(blocks))


def test_bursts_are_ten_times_as_dense() -> None:
    times = np.array([each.arrival for each in make("bursts", rate=20.0, requests=9000)])
    dense = times % 60.0 < 6.0
    assert dense.mean() == pytest.approx(10.0 / 19.0, abs=0.03)


def test_a_trace_is_played_at_the_rate_that_was_ordered(tmp_path: Path) -> None:
    lines = [
        {"timestamp": 3000 * n, "input_length": 600 + n, "output_length": n, "hash_ids": [0, n + 1]}
        for n in range(100)
    ]
    trace = tmp_path / workloads.TRACES["conversation"]
    trace.write_text("\n".join(json.dumps(line) for line in lines))
    made = make("conversation", rate=10.0, requests=100, at=tmp_path)
    assert len(made) == 100
    assert made.block_tokens == 512
    requests = list(made)
    assert requests[-1].arrival == pytest.approx(10.0)
    assert (requests[3].prompt_tokens, requests[3].output_tokens, requests[3].blocks) == (603, 3, (0, 4))
    assert requests[0].output_tokens == 1, "an engine makes one token at least"


def test_each_seed_has_a_part_of_the_trace_of_its_own_and_spreads_what_came_within_a_tick(
    tmp_path: Path,
) -> None:
    lines = [
        {"timestamp": 3000 * (n // 10), "input_length": 600 + n, "output_length": 9, "hash_ids": [n]}
        for n in range(100)
    ]
    (tmp_path / workloads.TRACES["conversation"]).write_text("\n".join(json.dumps(line) for line in lines))
    parts = [list(make("conversation", rate=10.0, requests=40, seed=seed, at=tmp_path)) for seed in range(6)]
    assert len({part[0].prompt_tokens for part in parts}) > 2
    for part in parts:
        times = [each.arrival for each in part]
        assert times == sorted(times)
        assert len(set(times)) == 40
        assert [each.prompt_tokens - part[0].prompt_tokens for each in part] == list(range(40))


def test_lengths_and_times_are_azures(tmp_path: Path) -> None:
    rows = ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    rows += [f"2023-11-16 18:15:{n:02d}.6805900,{100 * n + 1},{n + 1}" for n in range(40)]
    (tmp_path / workloads.TRACES["azure"]).write_text("\n".join(rows))
    requests = list(make("azure", rate=2.0, requests=40, at=tmp_path))
    assert [each.prompt_tokens for each in requests] == [100 * n + 1 for n in range(40)]
    assert requests[-1].arrival == pytest.approx(20.0)
    firsts = [each.blocks[0] for each in requests[1:]]
    assert len(set(firsts)) < len(firsts), "some begin alike"


def test_a_trace_that_is_not_there_is_named() -> None:
    with pytest.raises(FileNotFoundError, match=r"conversation.*/nowhere/mooncake"):
        make("conversation")
    with pytest.raises(ValueError, match="more than 0"):
        make("chat", rate=0.0)
