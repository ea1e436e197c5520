import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from endpoint_picker.parsing import contracts

ROOT = Path(__file__).parents[2]
PROTOS = sorted((ROOT / "protos").glob("*.proto"))


def test_the_descriptors_are_those_of_the_contracts(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools")
    written = tmp_path / "written.binpb"
    options = (f"--proto_path={ROOT / 'protos'}", f"--descriptor_set_out={written}")
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *options, *map(str, PROTOS)], check=True)
    assert written.read_bytes() == contracts.DESCRIPTORS.read_bytes(), "run make protos"


def test_make_protos_is_how_they_are_written() -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("no make here")
    said = subprocess.run([make, "-n", "-C", str(ROOT), "protos"], capture_output=True, text=True, check=True)
    lines = said.stdout.replace("\\\n", " ").splitlines()
    (command,) = [line for line in lines if "grpc_tools.protoc" in line]
    words = shlex.split(command.lstrip("@"))
    assert f"--descriptor_set_out={contracts.DESCRIPTORS.relative_to(ROOT)}" in words
    assert words[-len(PROTOS) :] == [str(path.relative_to(ROOT)) for path in PROTOS]


def test_bytes_that_are_no_message_are_a_value_error() -> None:
    read = contracts.reader("endpoint_picker.vllm.GenerateRequest")
    assert read(b"\x1a\x02hi").text == "hi"
    with pytest.raises(ValueError, match="GenerateRequest"):
        read(b"\x1a\x03hi")
