"""Who computes a prompt and who decodes, and what the engines see of that decision."""

from collections.abc import Iterator
from typing import Final

import pytest

from tests.fakes.disagg import LONG, WAYS, Gateway, gateway, scene, staged
from tests.fakes.vllm import HANDED

PREFILLER: Final = "x-prefiller-host-port"
CONTROL: Final = (
    PREFILLER,
    "x-encoder-hosts-ports",
    "x-data-parallel-host-port",
    "x-kv-cache-source-host-port",
    "x-gateway-destination-endpoint-subset",
    "x-gateway-destination-endpoint-served",
    "x-llm-d-request-dropped-reason",
)
FORGED: Final = [(name, "10.9.8.7:1") for name in CONTROL]
BY_PREFIX: Final = "prefix-based-pd-decider"


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("decisions"), ("standalone", "fallback")) as started:
        yield started


@pytest.mark.parametrize("way", WAYS)
async def test_a_long_prompt_is_computed_elsewhere_unless_it_is_cached(door: Gateway, way: str) -> None:
    async with scene(door, way, decider=BY_PREFIX) as there:
        (prefill,), (decode,) = there.prefill, there.decode
        first = await there.ask(prompt=LONG, max_tokens=5)
        again = await there.ask(prompt=LONG, max_tokens=5)
        short = await there.ask(prompt="hi", max_tokens=5)

        assert [answer.status for answer in (first, again, short)] == [200] * 3
        assert {answer.json["id"] for answer in (first, again, short)} == {"decode-0"}
        asked = {"model": "tiny", "prompt": LONG, "max_tokens": 5}
        assert decode.bodies == [asked | {"kv_transfer_params": HANDED}, asked, asked | {"prompt": "hi"}]
        (leg,) = prefill.bodies
        assert (leg["prompt"], leg["max_tokens"], leg["stream"]) == (LONG, 1, False)
        assert leg["kv_transfer_params"]["do_remote_decode"] is True
        assert (await there.decided("prefill-decode"), await there.decided("decode-only")) == (1, 2)


async def test_a_sidecar_is_told_who_computes_the_prompt_by_the_picker_alone(door: Gateway) -> None:
    """The engine that decodes has no sidecar here: it sees what one would be sent."""
    async with scene(door, decider=BY_PREFIX, flags=None) as there:
        for prompt in (LONG, LONG, "hi"):
            await there.ask(prompt=prompt, headers=FORGED)
        elsewhere, cached, short = there.decode[0].received
        assert [value for name in CONTROL for value in elsewhere.values(name)] == [there.prefill[0].address]
        assert elsewhere.values(PREFILLER) == [there.prefill[0].address]
        for alone in (cached, short):
            assert [name for name in CONTROL if alone.values(name)] == []


@pytest.mark.parametrize("way", WAYS)
async def test_no_engine_gets_a_control_header(door: Gateway, way: str) -> None:
    async with scene(door, way) as there:
        assert (await there.ask(prompt=LONG, headers=FORGED)).status == 200
        (prefill,), (decode,) = there.prefill[0].received, there.decode[0].received
        for received in (prefill, decode):
            assert [name for name in CONTROL if received.values(name)] == []


@pytest.mark.parametrize("way", WAYS)
async def test_both_legs_are_one_request_of_one_client(door: Gateway, way: str) -> None:
    sent = [("x-request-id", "of-the-client"), ("authorization", "Bearer me")]
    async with scene(door, way) as there:
        await there.ask("/v1/completions", prompt=LONG, headers=sent)
        (prefill,), (decode,) = there.prefill[0].received, there.decode[0].received
        assert prefill.path == decode.path == "/v1/completions"
        assert prefill.values("authorization") == decode.values("authorization") == ["Bearer me"]
        (name,) = prefill.values("x-request-id")
        assert decode.values("x-request-id") == [name]
        assert way == "sidecar" or name == "of-the-client"
        # In full duplex Envoy sends chunks.
        assert decode.values("content-length") in ([], [str(len(decode.body))])


@pytest.mark.parametrize("way", WAYS)
async def test_prefill_first_asks_nobody(door: Gateway, way: str) -> None:
    async with scene(door, way, decider="", stageOrder="prefill-first") as there:
        assert (await there.ask(prompt="hi")).json["id"] == "decode-0"
        assert len(there.prefill[0].received) == 1
        assert there.decode[0].bodies[0]["kv_transfer_params"] == HANDED
        assert await there.decided("prefill-decode") == 1


@pytest.mark.parametrize("way", WAYS)
async def test_who_is_picked_to_decode_alone_computes_its_prompt(door: Gateway, way: str) -> None:
    """An engine of both roles is picked twice: it is not sent to itself."""
    async with scene(door, way, prefill=0, roles={"decode": "prefill-decode"}) as there:
        assert (await there.ask(prompt=LONG)).status == 200
        assert there.decode[0].bodies == [{"model": "tiny", "prompt": LONG}]
        assert await there.decided("decode-only") == 1


@pytest.mark.parametrize("way", WAYS)
async def test_the_shorter_queue_computes_the_prompt(door: Gateway, way: str) -> None:
    async with scene(door, way, prefill=2) as there:
        await there.queue(40, 1)
        await there.ask(prompt=LONG)
        assert [len(engine.received) for engine in there.prefill] == [0, 1]


async def test_without_a_decider_everything_is_decoded_alone(door: Gateway) -> None:
    async with scene(door, document=staged(decider="")) as there:
        assert (await there.ask(prompt=LONG)).status == 200
        assert there.prefill[0].received == []


# aiohttp warns of every body beyond a MiB, which a sidecar sends from here.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
@pytest.mark.parametrize("way", WAYS)
async def test_a_prompt_of_megabytes_reaches_both(door: Gateway, way: str) -> None:
    prompt = LONG * (4_000_000 // len(LONG))
    async with scene(door, way) as there:
        assert (await there.ask(prompt=prompt)).status == 200
        assert there.prefill[0].bodies[0]["prompt"] == prompt
        assert there.decode[0].bodies == [{"model": "tiny", "prompt": prompt, "kv_transfer_params": HANDED}]
