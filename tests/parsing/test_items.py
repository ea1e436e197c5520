import msgspec
import pytest

from endpoint_picker.parsing.items import loose


def prompt(value: bytes) -> bytes:
    return b"".join(loose(msgspec.Raw(value)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"", b""),
        (b"null", b""),
        (b'"a\\nb"', b"a\nb"),
        (b"5", b"5"),
        (b'{"a": 1}', b'{"a": 1}'),
        (b"[]", b""),
        (b'["a", 5]', b'"a"5'),
        (b'[{"role":"user","content":"hi"}]', b"userhi"),
        (b'[{"content":[{"text":"a"},{"type":"x"},{"text":"b"}]}]', b"ab"),
        (b'[{"type":"reasoning", "x":1}]', b'{"type":"reasoning", "x":1}'),
        (b'[{"content":{"odd": true}}]', b'{"content":{"odd": true}}'),
    ],
)
def test_a_value_of_any_kind_has_a_prompt(value: bytes, expected: bytes) -> None:
    assert prompt(value) == expected


@pytest.mark.parametrize("kind", [b"image_url", b"input_audio", b"file_data"])
def test_a_medium_is_told_apart_by_a_short_digest(kind: bytes) -> None:
    template = b'[{"content":[{"type":"x","%b":"%b"}]}]'
    one, same, other = (prompt(template % (kind, b"z" * 9999 + end)) for end in (b"a", b"a", b"b"))
    assert one == same
    assert one != other
    assert len(one) < 60


def test_what_is_no_text_at_all_is_an_error() -> None:
    with pytest.raises(UnicodeDecodeError):
        prompt(b'[{"x":"\xff"}]')
