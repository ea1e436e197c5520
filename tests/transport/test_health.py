from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2

from endpoint_picker.app import SHELLS
from endpoint_picker.extproc import codec
from endpoint_picker.transport.health import Health
from endpoint_picker.transport.limits import Limits

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Process:
    """What the health services tell of."""

    ready = True
    live = True


@pytest.fixture
async def process() -> Process:
    return Process()


@pytest.fixture
async def channel(transport: str, process: Process) -> AsyncIterator[grpc.aio.Channel]:
    health = Health(codec.SERVICE, ready=lambda: process.ready, live=lambda: process.live)
    server = SHELLS[transport](health.services(), Limits())
    port = await server.start(0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(1.0)


async def check(channel: grpc.aio.Channel, service: str) -> int:
    method = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    response = await method(health_pb2.HealthCheckRequest(service=service))
    return int(response.status)


@pytest.mark.parametrize("service", ["", "readiness", codec.SERVICE])
async def test_readiness(channel: grpc.aio.Channel, process: Process, service: str) -> None:
    assert await check(channel, service) == SERVING
    process.ready = False
    assert await check(channel, service) == NOT_SERVING


@pytest.mark.parametrize("service", ["liveness", "inference-extension", "anything"])
async def test_liveness_answers_for_every_other_name(
    channel: grpc.aio.Channel, process: Process, service: str
) -> None:
    process.ready = False
    assert await check(channel, service) == SERVING
    process.live = False
    assert await check(channel, service) == NOT_SERVING


async def test_the_services_are_listed(channel: grpc.aio.Channel) -> None:
    method = channel.unary_unary(
        "/grpc.health.v1.Health/List",
        request_serializer=health_pb2.HealthListRequest.SerializeToString,
        response_deserializer=health_pb2.HealthListResponse.FromString,
    )
    response = await method(health_pb2.HealthListRequest())
    assert set(response.statuses) == {codec.SERVICE, "readiness", "liveness"}


async def test_watch_is_not_implemented(channel: grpc.aio.Channel) -> None:
    method = channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        response_deserializer=health_pb2.HealthCheckResponse.FromString,
    )
    call = method(health_pb2.HealthCheckRequest())
    assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
