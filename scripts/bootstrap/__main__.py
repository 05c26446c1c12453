"""`python scripts/bootstrap COMMAND …`, as scripts/up, down, pulumi and doctor start it.

Run as a folder and not with -m, so that neither the working directory nor PYTHONPATH, which the
CLI and the program would inherit, has to change.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

from scripts.bootstrap.commands import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
