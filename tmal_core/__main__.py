"""`python -m tmal_core` is the command `tmal`."""

import sys

from tmal_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
