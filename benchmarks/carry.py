"""One file over ultraplan's transport: ``python -m benchmarks.carry to|from VARIABLES HERE THERE``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ultraplan.transport.target import Target, connector


def main() -> None:
    """See the module."""
    way, variables, here, there = sys.argv[1:]
    connection = connector({"host": Target.of("host", json.loads(variables))})("host")
    try:
        if way == "to":
            connection.upload(Path(here), there)
        else:
            with Path(here).open("wb") as sink:
                connection.download(there, sink)
    finally:
        connection.close()


if __name__ == "__main__":
    main()
