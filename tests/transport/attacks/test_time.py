"""Attacks by slowness: what drips, stalls or falls silent ends its own connection, or its own stream."""

import asyncio

import pytest
from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame

from endpoint_picker.transport.connection import Broken
from tests.fakes.http2_client import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    HEADERS,
    PING,
    PREFACE,
    WHOLE,
    Client,
    frame,
    message,
    plain,
    request,
    settings,
    window_update,
)
from tests.fakes.machine import Machine
from tests.fakes.siege import siege
from tests.fakes.talking import Talk, talking

CALL = frame(HEADERS, 1, plain(request()), END_HEADERS)


def drip(machine: Machine, data: bytes, pause: float) -> None:
    for at in range(len(data)):
        machine.feed(data[at : at + 1])
        machine.wait(pause)


def ended(machine: Machine, code: int) -> bool:
    assert machine.over()
    assert machine.goodbye is not None
    return bool(machine.goodbye.error_code == code)


def test_a_connection_on_which_nothing_is_said() -> None:
    machine = Machine(greet=False, handshake=10.0)
    machine.wait(9.0)
    assert not machine.over()
    machine.wait(3.0)
    assert machine.over()


def test_a_preface_that_drips() -> None:
    machine = Machine(greet=False, handshake=10.0)
    drip(machine, PREFACE, 1.0)
    assert machine.over()


def test_a_preface_without_settings() -> None:
    machine = Machine(greet=False, handshake=10.0)
    machine.feed(PREFACE)
    machine.wait(12.0)
    assert ended(machine, ErrorCodes.PROTOCOL_ERROR)


def test_settings_that_are_never_acknowledged() -> None:
    """6.5.3"""
    machine = Machine(greet=False, handshake=10.0)
    machine.feed(PREFACE, settings())
    for _ in range(25):
        machine.feed(frame(PING, 0, bytes(8)))
        machine.wait(1.0)
    assert ended(machine, ErrorCodes.SETTINGS_TIMEOUT)


@pytest.mark.parametrize("data", [CALL, frame(DATA, 1, bytes(100))], ids=["headers", "data"])
def test_a_frame_that_drips(data: bytes) -> None:
    machine = Machine(block=10.0)
    machine.feed(CALL)
    drip(machine, data[:20], 1.0)
    assert ended(machine, ErrorCodes.ENHANCE_YOUR_CALM)


def test_frames_that_are_slow_but_end_in_time() -> None:
    machine = Machine(block=10.0)
    machine.feed(CALL)
    for _ in range(10):
        drip(machine, frame(DATA, 1, b"x"), 0.8)
    assert not machine.over()


def test_a_header_block_that_drips_in_whole_frames() -> None:
    machine = Machine(block=10.0, continuations=1000)
    machine.feed(frame(HEADERS, 1, plain(request())))
    for _ in range(12):
        machine.feed(frame(CONTINUATION, 1, b""))
        machine.wait(1.0)
    assert ended(machine, ErrorCodes.ENHANCE_YOUR_CALM)


def test_a_header_block_that_ended_is_not_waited_for() -> None:
    machine = Machine(block=10.0)
    machine.feed(frame(HEADERS, 1, plain(request())))
    machine.wait(5.0)
    machine.feed(frame(CONTINUATION, 1, b"", END_HEADERS))
    machine.wait(10.0)
    assert not machine.over()


def test_a_refused_header_block_is_not_waited_for_either() -> None:
    machine = Machine(block=10.0)
    machine.feed(frame(HEADERS, 1, plain([*request(), ("Bad", "name")]), END_HEADERS))
    machine.wait(15.0)
    assert not machine.over()


def test_an_answer_without_window_ends_its_stream_alone() -> None:
    machine = Machine((4, 0), stall=30.0)
    machine.feed(CALL, frame(HEADERS, 3, plain(request()), END_HEADERS))
    machine.connection.send(1, b"never taken")
    machine.wait(10.0)
    machine.feed(frame(PING, 0, bytes(8)))
    assert machine.wait(25.0) == [Broken(1, ErrorCodes.ENHANCE_YOUR_CALM)]
    assert machine.resets == {1: ErrorCodes.ENHANCE_YOUR_CALM}
    assert list(machine.connection.streams.open) == [3]
    assert not machine.over()


def test_an_answer_that_is_taken_slowly_is_not_stalled() -> None:
    """By a client that opens the window of the connection alone."""
    machine = Machine((4, 2**31 - 1), stall=30.0)
    machine.feed(CALL)
    machine.connection.send(1, bytes(70_000))
    machine.take()
    for _ in range(10):
        machine.wait(10.0)
        machine.feed(window_update(0, 400))
    assert not machine.resets


def test_a_peer_that_falls_silent() -> None:
    machine = Machine(silence=20.0)
    machine.feed(CALL)
    machine.wait(25.0)
    assert [came.type for came in machine.frames[-1:]] == [PING]
    machine.feed(frame(PING, 0, b"alive?\0\0", ACK))
    machine.wait(30.0)
    assert not machine.over()
    events = machine.wait(20.0)
    assert machine.over()
    assert events == [Broken(1, ErrorCodes.CANCEL)]


def test_an_idle_connection_is_ended_in_good_order() -> None:
    machine = Machine(idle=60.0, silence=1000.0)
    machine.feed(CALL)
    machine.wait(100.0)
    assert not [came for came in machine.frames if isinstance(came, GoAwayFrame)]
    machine.feed(frame(DATA, 1, message(b""), 1))
    machine.connection.finish(1, b"\x88")
    machine.take()
    machine.wait(62.0)
    assert machine.goodbye is not None
    assert (machine.goodbye.error_code, machine.over()) == (ErrorCodes.NO_ERROR, False)
    machine.feed(frame(PING, 0, b"farewell", ACK))
    assert machine.over()


def test_an_idle_peer_that_does_not_answer_the_goodbye_is_ended_all_the_same() -> None:
    machine = Machine(idle=60.0, silence=30.0)
    machine.feed(b"")
    for _ in range(20):
        machine.wait(10.0)
        machine.feed(frame(PING, 0, b"whatever", ACK))  # alive, but deaf
    assert machine.over()


# === on sockets ===


async def test_others_go_on_while_one_drips() -> None:
    async with siege(block=0.1) as under:
        await under.attacker.send(frame(HEADERS, 1, plain(request()), WHOLE)[:20])
        await under.bystander.works()
        goodbye = await under.attacker.over()  # when the clock is looked at the next time
        assert goodbye is not None
        assert goodbye.error_code == ErrorCodes.ENHANCE_YOUR_CALM
        await under.nobody_was_hurt()


async def test_a_silent_socket_is_closed() -> None:
    async with talking(Talk(), handshake=0.05, silence=0.1) as (_, port):
        client = await Client.connect(port)
        async with asyncio.timeout(3.0):
            assert await client.reader.read() == b""
        await client.close()
