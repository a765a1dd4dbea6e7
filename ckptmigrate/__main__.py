"""`python -m ckptmigrate`."""

import sys

from ckptmigrate.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
