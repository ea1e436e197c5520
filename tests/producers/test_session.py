"""The session as a request names it: in a header or in a cookie."""

import pytest

from endpoint_picker.core.attributes import session_id
from endpoint_picker.producers.session import SessionId, SessionParameters
from tests.fakes.pool import candidates_of, request_with, table_of, wiring_of

TABLE = table_of((), [{}])


def named(headers: dict[str, str], **parameters: str) -> str | None:
    producer = SessionId("s", SessionParameters(**parameters), wiring_of(TABLE))
    assert list(producer.produces()) == [session_id("s")]
    request = request_with(TABLE)
    request.headers = headers
    producer.produce(request, candidates_of(TABLE))
    return request.attributes.read(session_id("s"))


@pytest.mark.parametrize(
    ("headers", "session"),
    [({"x-session": "abc"}, "abc"), ({"x-session": "  a b "}, "a b"), ({"x-session": " "}, None), ({}, None)],
)
def test_a_header(headers: dict[str, str], session: str | None) -> None:
    assert named(headers, header_name="X-Session") == session


@pytest.mark.parametrize(
    ("cookie", "session"),
    [
        ("sid=abc", "abc"),
        ("a=1; sid=abc; b=2", "abc"),
        ("a=1;sid=abc", "abc"),
        ('sid="abc"', "abc"),
        ("sid=a=b", "a=b"),
        ("sid=one; sid=two", "one"),
        ("xsid=abc", None),
        ("SID=abc", None),
        ("sid=", None),
        ("sid", None),
        ("", None),
    ],
)
def test_a_cookie(cookie: str, session: str | None) -> None:
    assert named({"cookie": cookie}, cookie_name="sid") == session


def test_without_cookies() -> None:
    assert named({}, cookie_name="sid") is None


@pytest.mark.parametrize("names", [{}, {"header_name": "a", "cookie_name": "b"}])
def test_one_place_and_no_more(names: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="exactly one of headerName and cookieName"):
        SessionParameters(**names)
