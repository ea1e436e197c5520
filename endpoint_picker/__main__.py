"""`python -m endpoint_picker`: the same as the console script `endpoint-picker`."""

import sys

from endpoint_picker.cli import main

if __name__ == "__main__":
    sys.exit(main())
