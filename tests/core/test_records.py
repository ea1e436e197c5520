"""Records: what a dataclass gives, cheaply made."""

import pytest

from endpoint_picker.core.records import record
from endpoint_picker.core.request import Usage


@record
class Pair:
    first: int
    second: str = "b"


def test_a_record_is_a_dataclass_with_slots() -> None:
    assert Pair(1) == Pair(first=1, second="b")
    assert repr(Pair(1)).endswith("Pair(first=1, second='b')")
    assert not hasattr(Pair(1), "__dict__")


def test_a_record_has_no_hash_since_python_would_let_it_change() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Usage())
