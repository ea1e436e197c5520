import json
from typing import Any

import msgspec
import numpy as np
import pytest

from endpoint_picker.parsing.prompts import Features, expect, given, one_or_more, tokens


def marked(ids: list[int], hashes: Any, places: Any) -> list[int]:
    features = msgspec.json.decode(
        json.dumps({"mm_hashes": hashes, "mm_placeholders": places}), type=Features
    )
    result: list[int] = features.marked(np.array(ids, np.uint32)).tolist()
    return result


def test_ids_become_an_array_of_32_bits() -> None:
    assert tokens([1, 2**32 - 1]).tolist() == [1, 2**32 - 1]
    for wrong in ([-1], [2**32], ["a"], [None], [1.0]):
        with pytest.raises(ValueError, match="whole numbers"):
            tokens(wrong)


def test_texts_and_ids_are_not_mixed() -> None:
    assert one_or_more(["a", "b"]) == (b"a", b"b")
    with pytest.raises(ValueError, match="mixed"):
        one_or_more(["a", 1])
    with pytest.raises(ValueError, match="whole numbers"):
        one_or_more([1, "a"])


def test_a_value_is_given_as_spelled_or_not_at_all() -> None:
    assert given(msgspec.Raw(b'{"a" : 1}')) == b'{"a" : 1}'
    assert given(msgspec.Raw(b"null")) == given(msgspec.Raw(b"")) == b""
    with pytest.raises(UnicodeDecodeError):
        given(msgspec.Raw(b'"\xff"'))


def test_an_expected_kind_may_also_be_missing() -> None:
    for accepted in (b"", b"null", b"[1]"):
        expect(msgspec.Raw(accepted), b"[")
    with pytest.raises(ValueError, match=r"begins with \[ is expected"):
        expect(msgspec.Raw(b"{}"), b"[")


def test_placeholders_of_other_images_are_other_tokens() -> None:
    places = {"image": [{"offset": 1, "length": 2}]}
    one = marked([5, 9, 9, 6], {"image": ["h1"]}, places)
    other = marked([5, 9, 9, 6], {"image": ["h2"]}, places)
    assert one[0] == other[0] == 5
    assert one[3] == other[3] == 6
    assert one[1:3] != other[1:3]
    assert one == marked([5, 9, 9, 6], {"image": ["h1"]}, places)


@pytest.mark.parametrize(
    ("hashes", "places"),
    [
        (None, None),
        ({"image": ["h"]}, None),
        ({"image": None}, {"image": [{"offset": 0, "length": 1}]}),
        ({"video": ["h"]}, {"image": [{"offset": 0, "length": 1}]}),
        ({"image": ["h"]}, {"image": [{"offset": 7, "length": 5}]}),
        ({"image": ["h"]}, {"image": [{"offset": 1, "length": -5}]}),
        ({"image": ["h"]}, {"image": [{"offset": -3, "length": 1}]}),
    ],
)
def test_places_without_a_medium_or_outside_of_the_prompt_change_nothing(hashes: Any, places: Any) -> None:
    assert marked([1, 2, 3], hashes, places) == [1, 2, 3]


def test_overlapping_places_end_early() -> None:
    places = [{"offset": 0, "length": 4}] * 50_000
    once = marked([1] * 4, {"i": ["a"]}, {"i": places[:1]})
    assert marked([1] * 4, {"i": ["a"] + ["b"] * 49_999}, {"i": places}) == once
