"""One target under atheris: `python -m tests.fuzz.fuzzer NAME CORPUS [libFuzzer options]`."""

import logging
import sys

import atheris

with atheris.instrument_imports(include=["endpoint_picker", "hpack"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Runs until libFuzzer ends the process."""
    logging.disable()
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
