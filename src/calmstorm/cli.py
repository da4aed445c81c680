"""The command `calm`: puts the commands together and turns every way they can end into an exit status.

0: done. 1: the work failed. 2: bad input, with one line that says what and how to mend it. 130: interrupted. There is
no traceback unless `--debug` is given.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import util
from typing import Any

import typer
from typer.core import TyperGroup

from calmstorm import __version__
from calmstorm.errors import CalmstormError, InputError, MissingExtraError

COMMANDS = {
    "run": "Take a recipe through the whole of CALM, from problems to a report.",
    "demo": "Take word problems through the whole of CALM on the embedded pocket Reasoner.",
    "solve": "Solve one word problem: answer, formulation, code and checks.",
    "doctor": "Say what works on this machine, and what to do about what doesn't.",
    "problems": "List, show, check, generate, split and audit problems.",
    "curate": "Let an Intervener correct a Reasoner's trajectories with hints.",
    "golden": "Filter a run's golden trajectories and export them.",
    "sft": "Fine-tune a Reasoner on golden trajectories.",
    "rl": "Train a Reasoner by reinforcement learning.",
    "eval": "Measure pass@1 with intervals, of a Reasoner or of responses made elsewhere.",
    "flaws": "Find the seven flaws in responses.",
    "experiment": "Repeat the paper's experiments.",
    "report": "Write a run's report.",
    "studio": "Look at a run in the browser.",
    "push": "Upload a trained model to the Hugging Face hub.",
    "plan": "Say what a recipe will take before it is run.",
    "pocket": "Rebuild the embedded pocket Reasoner.",
}
"""Name and help of each command. It lives in `calmstorm.commands.<name>`, which is imported only when the command is
used. The module has `register(app: typer.Typer)`, an `app: typer.Typer` of subcommands, or a function of that name."""

INTERRUPTED = 130
"""Exit status after Ctrl-C."""

_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]
"""Typer does not export it; it has `format_message()` and `ctx`."""


class LazyCommands(TyperGroup):
    """The commands of this installation, imported when used, so that help and completion stay fast."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, D102  the type is typer's own
        return [name for name in COMMANDS if util.find_spec(f"calmstorm.commands.{name}") is not None]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401, D102
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"calmstorm.commands.{cmd_name}")
        app = typer.Typer(rich_markup_mode=None)
        if hasattr(module, "register"):
            module.register(app)
        elif hasattr(module, "app"):
            app.add_typer(module.app, name=cmd_name)
        else:
            app.command(cmd_name)(getattr(module, cmd_name))
        return typer.main.get_group(app).commands[cmd_name]

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401, D102
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in self.list_commands(ctx)])


def build() -> typer.Typer:
    """Returns the command line with every command that is part of this installation."""
    app = typer.Typer(
        name="calm",
        cls=LazyCommands,
        help="Adapt reasoning models to optimization modeling: curate, train, evaluate, show (arXiv 2510.04204).",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_common)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one command and ends the process with its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    options = words[: words.index("--")] if "--" in words else words
    debug = "--debug" in options
    if debug:
        words.remove("--debug")
    else:
        _silence_native_code()
    sys.exit(_run(words or ["--help"], debug))


def _silence_native_code() -> None:
    """Lets only Python write to standard output: solver libraries print stray lines there, which would spoil JSON."""
    out = sys.__stdout__
    if out is None or sys.stdout is not out:
        return  # somebody has put their own in its place, as tests do
    out.flush()
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    sys.stdout = open(kept, "w", encoding=out.encoding, errors=out.errors)  # noqa: SIM115, PTH123


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


def _common(
    version: bool = typer.Option(
        False, "--version", help="Print the version and end.", is_eager=True, callback=_print_version
    ),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks; may stand anywhere."),
) -> None:
    """Options of every command; `main` has already taken --debug away."""


def _run(words: list[str], debug: bool) -> int:
    try:
        command = typer.main.get_command(build())
        status = command.main(args=words, prog_name="calm", standalone_mode=False, obj=words)
        sys.stdout.flush()
        if status == INTERRUPTED:  # typer turns Ctrl-C into a status
            raise KeyboardInterrupt
        return status if isinstance(status, int) else 0
    except BrokenPipeError:  # whoever read our output has gone: nothing to say, and nobody to say it to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (KeyboardInterrupt, typer.Abort):
        if "CALM_LAUNCHED_BY" not in os.environ:  # else the process that launched this one says so
            kept = "what was finished is kept: run the command again, with --resume where it has that"
            _show(debug, f"interrupted; {kept}")
        return INTERRUPTED
    except CalmstormError as error:
        if not error.reported:
            _show(debug, str(error))
        if error.agreed:
            from calmstorm.training.ranks import part

            part()  # a launcher ends all when one ends: the line is out first
        return 2 if isinstance(error, InputError | MissingExtraError) else 1
    except _USAGE_ERROR as error:
        _show(debug, _usage(error))
        return 2
    except OSError as error:
        _show(debug, f"{error.filename or 'the system'}: {error.strerror or error}; make it possible and run again")
        return 1
    except Exception as error:
        _show(
            debug, f"internal error: {type(error).__name__}: {error}; run again with --debug and report what it shows"
        )
        return 1


def _usage(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":  # its message is the whole help
        message = "Missing command"
    else:
        message = str(getattr(error, "format_message", error.__str__)())
    return f"{message.rstrip('.')}; see: {context.command_path if context else 'calm'} --help"


def _show(debug: bool, message: str) -> None:
    silent = getattr(sys.stderr, "name", None) == os.devnull  # one of many processes, but this happened to it alone
    stream = sys.__stderr__ if silent else sys.stderr
    if debug:
        traceback.print_exc(file=stream)
    print("calm: " + " ".join(message.split()), file=stream, flush=True)


if __name__ == "__main__":
    main()
