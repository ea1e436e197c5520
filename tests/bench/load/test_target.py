import json
from collections.abc import Collection

import pytest

from bench.load.sending import client
from bench.load.target import Target, Unfit, address, header, model_of
from bench.processes import free_port
from tests.fakes.raw_server import answering, whole
from tests.fakes.simulated import replica


def models(*names: str) -> bytes:
    return whole("200 OK", json.dumps({"object": "list", "data": [{"id": each} for each in names]}).encode())


async def found(raw: bytes, model: str = "", adapters: Collection[str] = ()) -> str:
    async with answering(raw) as (url, _), client() as session:
        return await model_of(session, Target(base=address(url), model=model), adapters)


@pytest.mark.parametrize("text", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"])
def test_an_address_may_end_with_the_version(text: str) -> None:
    assert Target(base=address(text)).url == "http://h:1/v1/completions"
    assert Target(base=address(text), api="chat").url == "http://h:1/v1/chat/completions"


def test_an_address_may_have_a_path() -> None:
    assert Target(base=address("https://h/team/v1")).url == "https://h/team/v1/completions"


@pytest.mark.parametrize(
    "text", ["", "h:1", "ftp://h", "http://", "http://h:port", "http://h?x=1", "http://h:99999"]
)
def test_what_is_no_address_is_said(text: str) -> None:
    with pytest.raises(Unfit, match=r"127\.0\.0\.1:8081|server's base"):
        address(text)


def test_headers() -> None:
    assert header("x-team:  blue: green ") == ("x-team", "blue: green")
    for wrong in ("x-team", ": blue", "x team: blue", "x-team: a\nb: c"):
        with pytest.raises(Unfit, match="header"):
            header(wrong)


async def test_a_replica_tells_its_model() -> None:
    async with replica() as server, client() as session:
        assert await model_of(session, Target(base=address(server.url)), ()) == "tiny"


async def test_the_model_that_is_named_must_be_there_where_models_are_listed() -> None:
    assert await found(models("a", "b")) == "a"
    assert await found(models("a", "b"), "b") == "b"
    with pytest.raises(Unfit, match="no model c; it lists a, b"):
        await found(models("a", "b"), "c")
    with pytest.raises(Unfit, match="no model adapter-1"):
        await found(models("a"), adapters=["", "adapter-1"])


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (models(), "lists no model"),
        (whole("404 No", b"nothing here"), r"HTTP 404 \(nothing here\)"),
        (whole("200 OK", b"<html>", "text/html"), "is that the right server"),
        (whole("200 OK", b"\xff"), "is that the right server"),
        (whole("200 OK", b'{"data": 5}'), "is that the right server"),
    ],
)
async def test_a_server_without_models_can_be_loaded_by_name(raw: bytes, says: str) -> None:
    with pytest.raises(Unfit, match=says):
        await found(raw)
    assert await found(raw, "m") == "m"


@pytest.mark.parametrize("raw", [b"", b"SSH-2.0\r\n", whole("200 OK", b" " * (2 << 20))])
async def test_who_speaks_no_http_is_not_loaded(raw: bytes) -> None:
    with pytest.raises(Unfit, match="cannot be reached"):
        await found(raw, "m")


async def test_nobody_is_there() -> None:
    async with client() as session:
        with pytest.raises(Unfit, match="cannot be reached"):
            await model_of(session, Target(base=address(f"http://127.0.0.1:{free_port()}"), model="m"), ())
