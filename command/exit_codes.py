"""How a call of the command ends: whatever is raised becomes an exit code and one line.

Knows no command; cli.py hands over the group of all.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path

import click
from rich.text import Text

from ..errors import LoratuneError
from .console import ERR, OUT, ReaderGone
from .encoding import write_plainly
from .failure import unexpected, whole
from .options import Call
from .slips import no_such_flag


def run(command: click.Group, call: Call) -> None:
    """Carry out what was typed and exit; the only place where errors become exit codes."""
    write_plainly(sys.stdout, sys.stderr)
    code = _carry_out(command, call)
    # Here, where it can still be told: at its exit the interpreter only prints a traceback.
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        OUT.forget()
    except OSError as error:
        OUT.forget()
        _complain(f"what was asked for could not be printed ({error.strerror or error})")
        code = code or 1
    if code:
        sys.exit(code)


def _carry_out(command: click.Group, call: Call) -> int:
    """Carry out the command and return its exit code; says in one line what went wrong."""
    try:
        command.main(standalone_mode=False, obj=call)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx is not None else "")
    except click.BadParameter as error:
        _complain(_of_parameter(error), error, call)
        return 2
    except click.NoSuchOption as error:
        _complain(no_such_flag(error) + _see(error))
        return 2
    except click.UsageError as error:
        _complain(error.format_message() + _see(error))
        return 2
    except click.ClickException as error:
        _complain(error.format_message(), error, call)
        return 1
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except ReaderGone:
        return 0
    except LoratuneError as error:
        _complain(str(error), error, call)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort) as error:
        if ERR.is_terminal:
            ERR.print()  # below the ^C that the terminal shows
        _complain("interrupted", error, call)
        return 130
    except OSError as error:
        _complain(_system_words(error) or unexpected(error, call), error, call)
        return 1
    except Exception as error:
        _complain(unexpected(error, call), error, call)
        return 1
    return 0


def _of_parameter(error: click.BadParameter) -> str:
    """Return what is wrong with an option's value: the option, the value, what may be given."""
    hint = _see(error)
    if error.param is None or isinstance(error, click.MissingParameter):
        return error.format_message() + hint
    name = max(error.param.opts, key=len) if isinstance(error.param, click.Option) else error.param.name
    return f"{name}: {error.message.rstrip('.')}{hint}"


def _see(error: click.UsageError) -> str:
    """Return where more is said of a command, where it is known which."""
    return f"; see {error.ctx.command_path} --help" if error.ctx is not None else ""


def _system_words(error: OSError) -> str | None:
    """Return what the operating system refused, None where it does not say of what."""
    if error.filename:
        return f"{os.fsdecode(error.filename)}: {error.strerror or error}; check the path and its permissions"
    if isinstance(error, FileNotFoundError):
        try:
            Path.cwd()
        except FileNotFoundError:
            return "the working directory is there no more; change to another"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.strerror}; free some space and try again"
    return None


def _complain(message: str, error: BaseException | None = None, call: Call | None = None) -> None:
    """Print one line, whatever the message is made of; before it the traceback, where that is wanted."""
    # Where stderr is closed or its disk is full, the exit code is all that can be said.
    with contextlib.suppress(OSError, ValueError):
        if call is not None and call.debug and error is not None:
            ERR.print(Text(whole(error).rstrip()), soft_wrap=True)
        ERR.print(Text(f"tune: {' '.join(message.split())}"), soft_wrap=True)
