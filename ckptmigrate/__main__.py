"""`ckptmigrate` and `python -m ckptmigrate`: the command line, and what an interrupt does before that is loaded."""

import sys


def main() -> int:
    """Runs the command line and gives the exit code; never raises."""
    try:
        from ckptmigrate.cli.main import main as run

        return run()
    except KeyboardInterrupt:  # while modules load; from then on signals are handled there
        sys.stderr.write("interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
