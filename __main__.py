"""The way in: ``tune``, ``loratune`` and ``python -m loratune``."""

import os
import sys


def main() -> None:
    """Run the command; what goes wrong before it can is one line too."""
    _fill_streams()
    _read_paths_as_utf8()
    try:
        from .cli import main as command
        from .command.failure import hear_strays
        from .command.options import Call
    except KeyboardInterrupt:
        sys.stderr.write("tune: interrupted\n")
        sys.exit(130)
    except ImportError as error:
        if os.environ.get("TUNE_DEBUG"):
            raise
        sys.stderr.write(f"tune: cannot start: {error}; install loratune again\n")
        sys.exit(1)
    call = Call.from_environment()
    hear_strays(call)
    command(call)


def _fill_streams() -> None:
    """Let standard streams that are closed lead nowhere: else a database could become one of them."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the least free number, which is this one
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", closefd=False)


def _read_paths_as_utf8() -> None:
    """Begin again in Python's UTF-8 mode where the locale has another encoding for paths.

    Paths are bytes, and studies are resumed under other locales; the libraries that read models and data
    take them as UTF-8 whatever the locale says. What is printed stays in the encoding of the terminal.
    """
    if sys.flags.utf8_mode or sys.getfilesystemencoding() == "utf-8" or not sys.orig_argv:
        return
    if os.environ.get("PYTHONUTF8") == "1" or os.name != "posix":
        return
    os.environ["PYTHONUTF8"] = "1"
    os.environ.setdefault("PYTHONIOENCODING", f"{sys.stdout.encoding}:backslashreplace")
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


if __name__ == "__main__":
    main()
