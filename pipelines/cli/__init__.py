"""The command line `vingate`.

A command's module is imported when the command is called, and only then: `vingate judge` needs neither Beam nor a
database. Exit codes: 0 done, 1 the answer is no (some rejected, not balanced), 2 wrong use, 3 could not be done,
130 interrupted.
"""

from __future__ import annotations

import gc
import io
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from pipelines.cli.commands import COMMANDS, Command

if TYPE_CHECKING:
    import typer

__all__ = ["main", "uncollected", "without"]

INTERRUPTED, BROKEN_PIPE = 130, 141
_EPILOGUE = (
    "退出码 / exit codes: 0 完成 done · 1 结果为否 the answer is no · 2 用法有误 wrong use · "
    "3 未能完成 could not be done · 130 中断 interrupted"
)
_SAFE = (
    "已中断；状态完好，再次运行即从断点继续"
    " / interrupted; the state is safe: run the same command again, it goes on from there"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code.

    Args:
        arguments: what stands behind `vingate`; None for that of this process.
    """
    # Before numpy is imported: nothing here multiplies matrices, and a thread a core that waits to do so costs start.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug, given = _taken(given, "--debug")
    if given[:1] == ["--version"]:  # what everybody tries
        given[0] = "version"
    _tolerant()
    if not debug:
        logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # it logs tracebacks of what is explained below
    code: int
    try:
        code = _run(given)
        sys.stdout.flush()
    except BrokenPipeError:
        _silence()
        return BROKEN_PIPE
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        # Every error becomes a paragraph that says what to do.
        if debug:
            raise
        from pipelines.cli.failures import explained

        paragraph, code = explained(error)
        with suppress(OSError):
            sys.stdout.flush()
        _say(paragraph)
    if code == INTERRUPTED:
        _say(_SAFE)
    return code


def _run(given: list[str]) -> int:
    import typer

    # The option --help alone costs typer half of its start: what only says its version does without it.
    plain = given[:1] == ["version"] and not {"--help", "-h"} & set(given)
    chosen = next((argument for argument in given if not argument.startswith("-")), "")
    app = typer.Typer(
        name="vingate",
        add_completion=False,
        no_args_is_help=True,
        add_help_option=not plain,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"]},
    )
    app.callback(epilog=_EPILOGUE)(_root)
    for command in COMMANDS:
        if command.name == chosen:
            _add(app, command, helps=not plain)
        elif not any(command.name == chosen for command in COMMANDS):
            app.command(command.name, help=command.help, rich_help_panel=command.panel)(_not_called)
    try:
        typer.main.get_command(app).main(args=given, prog_name="vingate")
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def _root() -> None:
    """汽车维修电子健康档案数据交换网关 / the gateway of the vehicle repair health record network.

    [bold]先试 / try first:[/bold]  vingate judge FILE  ·  vingate explain --vin V --plate P  ·  make run

    每个命令都有 --help 与 --json；加 --debug 可看到完整的错误堆栈。
    Every command has --help and --json; --debug shows the whole traceback of an error.
    """


def _not_called() -> None:
    """Stands for a command in the list of commands."""


def _add(app: typer.Typer, command: Command, *, helps: bool) -> None:
    """Import a command's module and register what it holds: a function, or a group of commands."""
    with uncollected():
        found = command.load()
    if command.group:
        app.add_typer(found, name=command.name, help=command.help)
    else:
        app.command(command.name, add_help_option=helps)(found)


@contextmanager
def uncollected() -> Iterator[None]:
    """For imports: all that they make stays, so the collector need not look through it again and again."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def without(*names: str) -> Iterator[None]:
    """For imports: libraries that a dependency takes along where it finds them, and that are not used here."""
    absent = [name for name in names if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment] # how Python marks a module that is not to be found
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


def _taken(given: list[str], flag: str) -> tuple[bool, list[str]]:
    """Whether a flag stands anywhere before `--`, and the arguments without it."""
    end = given.index("--") if "--" in given else len(given)
    rest = [argument for argument in given[:end] if argument != flag]
    return len(rest) < end, rest + given[end:]


def _tolerant() -> None:
    """What a terminal's encoding cannot show is replaced; it must not end a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with suppress(ValueError, OSError):
                stream.reconfigure(errors="replace")


def _say(text: str) -> None:
    with suppress(OSError):
        sys.stderr.write(text.rstrip("\n") + "\n")
        sys.stderr.flush()


def _silence() -> None:
    """The reader went away: what is still buffered goes nowhere, quietly."""
    with suppress(OSError, ValueError, io.UnsupportedOperation):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
