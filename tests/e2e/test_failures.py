"""What clients see when a replica or the picker fails, and that the picker's books are right afterwards."""

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from bench.envoys import Config, cluster, connection_manager
from tests.fakes.replica import Pace, Replica
from tests.fakes.stack import COMPLETIONS, Building, Stack

DESTINATION: Final = "x-gateway-destination-endpoint"
STREAM: Final = {"model": "tiny", "prompt": "hi", "stream": True}


def prefer_first(fleet: Sequence[Replica]) -> None:
    """The first replica has an empty queue, the others a long one."""
    for replica in fleet[1:]:
        replica.waiting = 50.0


def paced(fleet: Sequence[Replica]) -> None:
    """Streams go on only as the test allows, and the first replica is preferred."""
    prefer_first(fleet)
    for replica in fleet:
        replica.pace = Pace()


async def prefer_second(gateway: Stack) -> None:
    """Turn the preference round, and wait until the picker has seen it."""

    async def queues() -> float:
        return await gateway.picker.sum_of("llm_d_epp_per_endpoint_queue_size")

    gateway.replicas[0].waiting, gateway.replicas[1].waiting = 60.0, 0.0
    await gateway.settles(60.0, queues)


def open_stream(gateway: Stack) -> aiohttp.client._RequestContextManager:
    return gateway.client.post(gateway.url(COMPLETIONS), json=STREAM)


def allow(replica: Replica, chunks: int) -> None:
    assert replica.pace is not None
    replica.pace.allow(chunks)


async def in_flight_at(gateway: Stack, replica: Replica) -> float:
    return await gateway.picker.sum_of("llm_d_epp_inflight_requests", endpoint_name=replica.address)


# === a replica fails ===


async def test_a_replica_killed_in_a_stream_breaks_that_stream_alone(stack: Building, tmp_path: Path) -> None:
    async with stack(tmp_path, prepare=paced) as gateway:
        doomed, other = gateway.replicas
        async with open_stream(gateway) as broken:
            await prefer_second(gateway)
            async with open_stream(gateway) as whole:
                for replica, response in ((doomed, broken), (other, whole)):
                    allow(replica, 1)
                    assert await response.content.readuntil(b"\n\n") == replica.event(STREAM, 0)
                assert await gateway.in_flight() == 2

                await doomed.die()
                with pytest.raises(aiohttp.ClientPayloadError):
                    await broken.content.read()
                allow(other, other.chunks)
                assert (await whole.content.read()).endswith(b"data: [DONE]\n\n")
        await gateway.settles(0, gateway.in_flight)


async def test_a_client_that_goes_away_leaves_nothing_in_the_books(stack: Building, tmp_path: Path) -> None:
    async with stack(tmp_path, names=("a",), prepare=paced) as gateway:
        async with open_stream(gateway) as response:
            allow(gateway.replicas[0], 1)
            await response.content.readuntil(b"\n\n")
            assert await gateway.in_flight() == 1
            response.close()
        await gateway.settles(0, gateway.in_flight)


async def test_envoys_own_answer_reaches_the_picker_as_a_failure_of_the_replica(
    stack: Building, tmp_path: Path
) -> None:
    """A refused connection: Envoy's 503 passes the picker with its `:status`."""

    async def failures() -> float:
        return await gateway.picker.sum_of("llm_d_epp_request_error_total", error_code="ModelServerError")

    async with stack(tmp_path, prepare=prefer_first) as gateway:
        await gateway.replicas[0].die()
        answer = await gateway.ask()
        assert answer.status == 503
        assert answer.values("x-went-into-resp-headers") == ["true"]
        await gateway.settles(1, failures)
        await gateway.settles(0, gateway.in_flight)


async def test_a_replica_that_only_fails_is_left_alone(stack: Building, tmp_path: Path) -> None:
    async with stack(tmp_path, prepare=prefer_first) as gateway:
        await gateway.replicas[0].die()
        answers = [await gateway.ask() for _ in range(6)]
        assert [answer.status for answer in answers[-3:]] == [200] * 3
        assert {answer.replica for answer in answers[-3:]} == {"b"}


@pytest.mark.parametrize("size", [10, 10 << 20])
async def test_a_dead_first_choice_is_served_by_the_second_and_the_picker_is_told(
    stack: Building, tmp_path: Path, size: int
) -> None:
    """The books follow the request to who serves it."""
    async with stack(tmp_path, "fallback", most=2, prepare=paced) as gateway:
        dead, second = gateway.replicas
        await dead.die()
        asking = asyncio.create_task(gateway.ask(prompt="x" * size, stream=True))

        async def served() -> float:
            return len(second.received)

        await gateway.settles(1, served)
        assert second.received[0].values(DESTINATION) == [f"{dead.address},{second.address}"]
        allow(second, second.chunks)
        answer = await asking
        assert (answer.status, answer.replica) == (200, "b")
        await gateway.settles(0, gateway.in_flight)


async def test_the_books_follow_a_stream_to_the_second_choice(stack: Building, tmp_path: Path) -> None:
    async with stack(tmp_path, "fallback", most=2, prepare=paced) as gateway:
        dead, second = gateway.replicas
        await dead.die()
        async with open_stream(gateway) as response:
            assert response.headers["x-replica"] == "b"
            assert await in_flight_at(gateway, dead) == 0
            assert await in_flight_at(gateway, second) == 1
            allow(second, second.chunks)
            await response.read()
        await gateway.settles(0, gateway.in_flight)


async def test_when_every_named_endpoint_is_dead_the_fallback_policy_finds_another(
    stack: Building, tmp_path: Path
) -> None:
    """With a single retry: the one that has just failed is not tried again."""

    def once(config: Config) -> None:
        (host,) = connection_manager(config)["route_config"]["virtual_hosts"]
        host["retry_policy"]["num_retries"] = 1

    async with stack(tmp_path, "fallback", once, prepare=prefer_first) as gateway:
        await gateway.replicas[0].die()
        answers = [await gateway.ask() for _ in range(4)]
        assert [(answer.status, answer.replica) for answer in answers] == [(200, "b")] * 4
        await gateway.settles(0, gateway.in_flight)


# === the picker fails ===


@pytest.mark.parametrize("name", ["standalone", "lean"])
async def test_without_the_picker_requests_fail_at_once_until_it_is_back(
    stack: Building, tmp_path: Path, name: str
) -> None:
    async with stack(tmp_path, name, names=("a",)) as gateway:
        assert (await gateway.ask()).status == 200
        gateway.picker.kill()
        answers = [await gateway.ask(), await gateway.get("/v1/models")]
        assert [answer.status for answer in answers] == [503, 503]
        assert len(gateway.replicas[0].received) == 1

        await gateway.picker.start()
        assert (await gateway.ask()).status == 200
        await gateway.settles(0, gateway.in_flight)


async def test_without_the_picker_requests_go_round_until_it_is_back(stack: Building, tmp_path: Path) -> None:
    async with stack(tmp_path, "fallback", prepare=prefer_first) as gateway:
        assert (await gateway.ask()).replica == "a"
        gateway.picker.kill()
        answers = [await gateway.ask(prompt="x" * size) for size in (1, 1, 1 << 20, 1 << 20)]
        answers.append(await gateway.get("/v1/models"))
        assert [answer.status for answer in answers] == [200] * 5
        assert {answer.replica for answer in answers} == {"a", "b"}
        async with gateway.client.ws_connect(gateway.url("/ws")) as socket:
            await socket.send_str("hello")
            assert (await socket.receive()).data == "hello"

        await gateway.picker.start()
        assert {(await gateway.ask()).replica for _ in range(4)} == {"a"}


@pytest.mark.parametrize("name", ["standalone", "lean"])
async def test_a_picker_killed_in_a_stream_does_not_leave_the_client_waiting(
    stack: Building, tmp_path: Path, name: str
) -> None:
    """Where a body passed the picker in full duplex, the response breaks with the picker, seen or not."""
    async with stack(tmp_path, name, names=("a",), prepare=paced) as gateway:
        (replica,) = gateway.replicas
        async with open_stream(gateway) as response:
            allow(replica, 1)
            await response.content.readuntil(b"\n\n")
            gateway.picker.kill()
            allow(replica, replica.chunks)
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.content.read()


async def test_a_response_under_way_outlives_the_picker_where_traffic_must_go_on(
    stack: Building, tmp_path: Path
) -> None:
    async with stack(tmp_path, "fallback", names=("a",), prepare=paced) as gateway:
        (replica,) = gateway.replicas
        async with open_stream(gateway) as response:
            allow(replica, 1)
            await response.content.readuntil(b"\n\n")
            gateway.picker.kill()
            allow(replica, replica.chunks)
            assert (await response.content.read()).endswith(b"data: [DONE]\n\n")


async def test_a_frozen_picker_is_noticed_by_keepalive(stack: Building, tmp_path: Path) -> None:
    """As configured, but for shorter times."""

    def impatient(config: Config) -> None:
        options = next(iter(cluster(config, "ext_proc")["typed_extension_protocol_options"].values()))
        keepalive = options["explicit_http_config"]["http2_protocol_options"]["connection_keepalive"]
        keepalive["interval"] = keepalive["timeout"] = "0.5s"

    async with stack(tmp_path, "standalone", impatient, names=("a",)) as gateway:
        assert (await gateway.ask()).status == 200
        process = gateway.picker.process
        assert process is not None
        process.signal(signal.SIGSTOP)
        try:
            assert (await gateway.ask()).status == 503
        finally:
            process.signal(signal.SIGCONT)

        async def status() -> float:
            return (await gateway.ask()).status

        await gateway.settles(200, status)


async def test_a_picker_that_drains_finishes_what_it_has(stack: Building, tmp_path: Path) -> None:
    async with stack(tmp_path, names=("a",), prepare=paced) as gateway:
        (replica,) = gateway.replicas
        process = gateway.picker.process
        assert process is not None
        async with open_stream(gateway) as response:
            allow(replica, 1)
            await response.content.readuntil(b"\n\n")
            process.signal(signal.SIGTERM)
            await gateway.settles(False, gateway.picker.ready)
            allow(replica, replica.chunks)
            assert (await response.content.read()).endswith(b"data: [DONE]\n\n")
        process.signal(signal.SIGTERM)
        assert await process.wait() == 0
