"""Bodies are valid, as large as they claim, and share what they are meant to share."""

import json
from itertools import pairwise

import pytest

from bench.samples.prompts import SIZES, Bodies, Kind


@pytest.mark.parametrize(("kind", "size"), [("small", 2_000), ("long", 400_000)])
def test_a_body_is_a_chat_of_its_size(kind: Kind, size: int) -> None:
    body = Bodies(kind, seed=1).next()
    assert len(body) == pytest.approx(size, rel=0.02)
    assert [each["role"] for each in json.loads(body)["messages"]] == ["system", "user"]


@pytest.mark.parametrize("kind", list(SIZES))
def test_every_other_one_begins_like_others(kind: Kind) -> None:
    bodies = Bodies(kind, seed=1)
    systems = [json.loads(bodies.next())["messages"][0]["content"] for _ in range(64)]
    beginnings = [system for system in systems if len(system) == SIZES[kind].shared]
    assert len(beginnings) == len(systems) / 2
    assert len(set(beginnings)) == 8


def test_no_body_comes_twice() -> None:
    bodies = Bodies("small", seed=1)
    assert len({bodies.next() for _ in range(200)}) == 200


def test_new_ones_are_new_from_their_beginning() -> None:
    bodies = Bodies("small", seed=1)
    systems = [json.loads(bodies.next())["messages"][0]["content"] for _ in range(64)]
    new = sorted(system for system in systems if len(system) != SIZES["small"].shared)
    assert all(one[:16] != other[:16] for one, other in pairwise(new))


def test_the_seed_decides() -> None:
    assert Bodies("small", seed=1).next() == Bodies("small", seed=1).next() != Bodies("small", seed=2).next()
