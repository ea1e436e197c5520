import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from endpoint_picker.sidecar import targets
from endpoint_picker.sidecar.targets import Target


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("10.0.0.7:8000", Target("10.0.0.7", 8000)),
        (" http://Prefill-0.svc:80/ ", Target("prefill-0.svc", 80)),
        ("https://10.0.0.7:1", Target("10.0.0.7", 1)),
        ("[FD00:0::7]:8000", Target("fd00::7", 8000)),
        ("[::ffff:10.0.0.7]:8000", Target("10.0.0.7", 8000)),
    ],
)
def test_host_and_port_are_read(text: str, target: Target) -> None:
    assert targets.read(text) == target
    assert targets.read(str(target)) == target


@pytest.mark.parametrize(
    "text",
    [
        "", "10.0.0.7", "10.0.0.7:0", "10.0.0.7:65536", "10.0.0.7:x", "fd00::7:8000", "a@b:1", "a:1/x",
        "a:1?x", "a b:1", "a:1#", "10.0.0.7.:1x", "1.2.3:4", "ftp://a:1", "a:1:2", "\u0661.0.0.1:80",
        "a\n:1", "[::1%eth0]:1",
    ],
)  # fmt: skip
def test_nothing_else_is(text: str) -> None:
    assert targets.read(text) is None


@given(st.text(max_size=30) | st.from_regex(r"[a-z0-9.:\[\]@/?#-]{1,12}:[0-9]{1,5}", fullmatch=True))
def test_what_is_read_is_all_that_a_url_says(text: str) -> None:
    target = targets.read(text)
    if target is not None:
        assert targets.read(str(target)) == target
        url = URL(f"http://{target}/v1/completions", encoded=True)
        assert (url.host, url.port, url.raw_path) == (target.host, target.port, "/v1/completions")
