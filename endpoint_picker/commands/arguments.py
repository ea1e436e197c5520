"""How the program and its commands read their arguments."""

import argparse
import difflib
import re
from collections.abc import Collection
from typing import NoReturn


class ArgumentParser(argparse.ArgumentParser):
    """Names the nearest flag, or command, where an unknown one is given."""

    commands: Collection[str] = ()

    def error(self, message: str) -> NoReturn:
        unknown = re.search(r"unrecognized arguments: ([\w-]+)", message)
        valid = [*self._option_string_actions, *self.commands]
        near = difflib.get_close_matches(unknown[1], valid, 1) if unknown else []
        super().error(f"{message} (did you mean {near[0]}?)" if near else message)
