"""The `vae` command: parse, call, print.

Exit codes: 0 done, 1 a check failed, 2 wrong use or bad input, 130 interrupted. Results go to stdout; progress, logs
and errors go to stderr. An error that vaekit raises on purpose is one line; anything else is a defect and keeps its
traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from vaekit.errors import VaekitError

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code.

    Args:
        argv: Arguments after the name of the command; those of the process by default.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # Arrow's own pool holds 6 MB more from the start
    try:
        from vaekit.cli.app import app

        app(args=None if argv is None else list(argv), prog_name="vae")
    except VaekitError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
