"""What requests mean that carry `kv_transfer_params`."""

from typing import Any

import pytest

from bench.simulator import nixl
from bench.simulator.nixl import Source

PULL: dict[str, Any] = nixl.handover(("e", "r", "127.0.0.1", 5600), blocks=[1, 2], tokens=60, cached=32)


@pytest.mark.parametrize(
    ("params", "kept"),
    [
        (None, False),
        ({}, False),
        ({"do_remote_decode": True}, True),
        ({"do_remote_decode": False}, False),
        (PULL, False),
    ],
)
def test_who_asks_keeps(params: dict[str, Any] | None, kept: bool) -> None:
    assert nixl.wants_keeping(params) is kept


def test_the_answer_of_one_side_is_understood_by_the_other() -> None:
    assert nixl.source_of(PULL) == Source("e", "r", "127.0.0.1", "5600")
    assert nixl.cached_elsewhere(PULL, 60) == 32


@pytest.mark.parametrize("params", [None, {}, PULL | {"do_remote_prefill": False}])
def test_nothing_is_fetched_unless_the_prompt_is_elsewhere(params: dict[str, Any] | None) -> None:
    assert nixl.source_of(params) is None
    assert nixl.cached_elsewhere(params, 60) is None


@pytest.mark.parametrize("key", nixl.NEEDED)
@pytest.mark.parametrize("value", [None, "missing"])
def test_a_missing_key_is_named_and_the_prompt_computed_here(
    key: str, value: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    params = PULL | {key: None}
    if value:
        del params[key]
    assert nixl.source_of(params) is None
    assert key in caplog.text


@pytest.mark.parametrize(
    ("told", "meant"), [(0, 0), (61, 60), (-1, 0), (None, None), ("3", None), (True, None), (2.0, None)]
)
def test_only_a_sensible_number_of_cached_tokens_is_believed(told: object, meant: int | None) -> None:
    assert nixl.cached_elsewhere(PULL | {"remote_prefill_cached_tokens": told}, 60) == meant
