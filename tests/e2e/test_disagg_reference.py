"""Configurations of the field's reference serve requests here as they are, through the real Envoy."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.fakes.disagg import LONG, Document, Engine, Gateway, endpoint, gateway, scene

GOLDEN: Final = Path(__file__).parents[3] / "shared/golden/epp-configs"
COMPLETIONS: Final = "/v1/completions"
CHAT: Final = "/v1/chat/completions"
PREFILLER: Final = "x-prefiller-host-port"
ENCODERS: Final = "x-encoder-hosts-ports"
PICTURE: Final = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
SHOWN: Final = {"messages": [{"role": "user", "content": [{"type": "text", "text": LONG}, PICTURE]}]}
READ: Final = {"messages": [{"role": "user", "content": LONG}]}

pytestmark = pytest.mark.skipif(
    not GOLDEN.exists(), reason="the configurations of the reference are not here"
)


def document(name: str) -> Document:
    found: Document = yaml.safe_load((GOLDEN / f"{name}.yaml").read_text())
    return found


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("reference")) as started:
        yield started


@pytest.mark.parametrize("name", ["pd-epp-config", "sim-pd-epp-config", "sim-e-p-d-epp-config"])
async def test_long_prompts_have_a_prefill_and_cached_ones_none(door: Gateway, name: str) -> None:
    async with scene(door, document=document(name), encode=1, flags=None) as there:
        for prompt in (LONG, LONG, "hi"):
            assert (await there.ask(prompt=prompt)).json["id"] == "decode-0"
        long, again, short = (received.values(PREFILLER) for received in there.decode[0].received)
        assert (long, short) == ([there.prefill[0].address], [])
        # One of these files has nobody who looks at caches: its decider has a producer made for it.
        assert again == []
        assert [received.values(ENCODERS) for received in there.decode[0].received] == [[], [], []]


async def test_the_prefill_is_near_who_decodes(door: Gateway) -> None:
    """Two hosts with one replica of each role; the prefill is on the host that decodes, whichever it is."""
    async with scene(
        door, document=document("pd-topology-epp-config"), prefill=2, decode=2, flags=None
    ) as there:
        hosts = [
            endpoint(
                f"{engine.name}-on-{number}",
                engine.address,
                role,
                **{"kubernetes.io/hostname": f"host-{number}"},
            )
            for role, engines in (("prefill", there.prefill), ("decode", there.decode))
            for number, engine in enumerate(engines)
        ]
        await door.routes(document("pd-topology-epp-config"), hosts)
        for number in range(6):
            assert (await there.ask(prompt=f"{number} {LONG}")).status == 200
        for prefill, decode in zip(there.prefill, there.decode, strict=True):
            assert [r.values(PREFILLER) for r in decode.received] == [[prefill.address]] * len(
                decode.received
            )
        assert sum(len(engine.received) for engine in there.decode) == 6


@pytest.mark.parametrize(
    ("name", "stages"), [("sim-e-pd-epp-config", ["encode"]), ("sim-e-p-d-epp-config", ["encode", "prefill"])]
)
async def test_pictures_are_encoded_elsewhere(door: Gateway, name: str, stages: Sequence[str]) -> None:
    roles = {} if "prefill" in stages else {"decode": "prefill-decode"}
    async with scene(door, document=document(name), encode=1, roles=roles, flags=None) as there:
        for fields in (SHOWN, READ):
            assert (await there.ask(CHAT, **fields)).json["id"] == "decode-0"
        shown, read = there.decode[0].received
        assert shown.values(ENCODERS) == [there.encode[0].address]
        assert read.values(ENCODERS) == []
        assert shown.values(PREFILLER) == ([there.prefill[0].address] if "prefill" in stages else [])


async def test_a_rank_is_named_at_the_port_of_the_file(door: Gateway) -> None:
    """The file says port 8000, so the pods have addresses of their own."""
    wanted = document("dp-epp-config")
    async with scene(door, document=wanted, prefill=0, decode=0) as there, AsyncExitStack() as scope:
        pods = []
        for number in (1, 2):
            engine = Engine(f"pod-{number}", port=8000)
            engine.host = f"127.18.29.{number}"
            try:
                pods.append(await scope.enter_async_context(engine))
            except OSError:
                pytest.skip("port 8000 is taken on every address")
        pool = [
            {**without_port(endpoint(pod.name, pod.address, "decode")), "targetPorts": [8000, 8001]}
            for pod in pods
        ]
        await door.routes(wanted, pool)
        answers = [await there.ask(prompt=f"{number} {LONG}") for number in range(6)]
        assert [answer.status for answer in answers] == [200] * 6
        for pod in pods:
            for received in pod.received:
                (rank,) = received.values("x-data-parallel-host-port")
                assert rank in (f"{pod.host}:8000", f"{pod.host}:8001")
        assert sum(len(pod.received) for pod in pods) == 6


def without_port(entry: Mapping[str, Any]) -> Document:
    return {key: value for key, value in entry.items() if key != "port"}
