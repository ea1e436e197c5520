"""The laws of the fuzz targets, on what hypothesis makes up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.binary(max_size=600))
def test_any_bytes_keep_the_laws(name: str, data: bytes) -> None:
    TARGETS[name](data)
