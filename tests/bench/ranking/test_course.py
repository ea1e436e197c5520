import asyncio
import sys
from pathlib import Path

import pytest
from rich.console import Console

from bench.envoys import BINARY
from bench.fleet import roster
from bench.fleet.fleet import ENGINE, slowed
from bench.ranking import __main__ as command
from bench.ranking.course import Course, engine_flags, real, virtual
from bench.simulator.flags import parser
from bench.simulator.fleet import configs

NOWHERE = Path("/nowhere")


def test_the_replicas_are_the_engines_of_the_virtual_fleet() -> None:
    course = Course(traces_at=NOWHERE, slow=3.0, replicas=2)
    args = parser().parse_args(["--replicas", "2", *engine_flags(course.engine())])
    for number, config in enumerate(configs(args)):
        told = config.engine
        expected = course.fleet().engines[number]
        assert expected == slowed(ENGINE, 3.0)
        for name in (
            "block_size",
            "num_blocks",
            "max_num_seqs",
            "max_num_batched_tokens",
            "fixed_s",
            "jitter",
        ):
            assert getattr(told, name) == getattr(expected, name)
        for name in ("prefill_token_s", "decode_sequence_s", "cached_token_s"):
            assert getattr(told, name) == pytest.approx(getattr(expected, name))


def test_answers_are_cut_and_nothing_else() -> None:
    whole, cut = (Course(traces_at=NOWHERE, requests=50, most_tokens=most).made() for most in (10**6, 100))
    for one, other in zip(whole, cut, strict=True):
        assert other.output_tokens == min(one.output_tokens, 100)
        assert (other.blocks, other.arrival, other.prompt_tokens) == (
            one.blocks,
            one.arrival,
            one.prompt_tokens,
        )


def test_conversations_cannot_be_compared_request_by_request() -> None:
    with pytest.raises(ValueError, match="chat has conversations"):
        Course(traces_at=NOWHERE, workload="chat", requests=50).made()


@pytest.mark.e2e
@pytest.mark.skipif(not BINARY.exists(), reason="the real Envoy is not installed: make setup")
@pytest.mark.parametrize("policy", ["round-robin", "default"])
def test_both_worlds_serve_the_same_requests(policy: str, tmp_path: Path) -> None:
    """So few that caches, not queues, decide: what is found in them is the same to the token."""
    course = Course(traces_at=NOWHERE, requests=24, rate=12.0, replicas=2, slow=0.5, most_tokens=4)
    workload = course.made()
    spec = roster.find(policy)
    there = virtual(course, workload, spec)
    here = asyncio.run(real(course, workload, spec, tmp_path, Console(quiet=True)))
    assert (here.facts["failed"], there.facts["failed"]) == (0, 0)
    assert here.ttft.shape == there.ttft.shape == (24,)
    assert here.facts["cores"] > 0.0
    if policy == "round-robin":
        assert here.hit_rate == pytest.approx(there.hit_rate, abs=1e-9)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--policy", "dynamo"], "dynamo is a policy of the virtual fleet only"),
        (["--policy", "wieghted"], "did you mean weighted?"),
        (["--rate", "0"], "must be more than 0"),
        (["--workload", "conversation", "--trace", "/nowhere"], "/nowhere"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], flags: list[str], says: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.ranking", *flags])
    with pytest.raises(SystemExit):
        command.main()
    assert says in capsys.readouterr().err
