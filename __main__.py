"""The way in: ``tune``, ``loratune`` and ``python -m loratune``."""

import sys


def main() -> None:
    """Run the command; Ctrl-C ends it in one line also while its libraries are still being loaded."""
    try:
        from .cli import main as command
    except KeyboardInterrupt:
        sys.stderr.write("tune: interrupted\n")
        sys.exit(130)
    command()


if __name__ == "__main__":
    main()
