"""Find the command that is meant, call it, and turn errors into one message and an exit code."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable

import tyro
from rich.markup import escape

from moenas.console import console, set_up_logging
from moenas.errors import MoENASError, did_you_mean
from moenas.libraries import broken_libraries, explain_broken
from moenas.masking import masked, shown
from moenas.runtime import keep_freed_memory, process_count, process_index

COMMANDS = (
    "demo", "data", "train", "evaluate", "audit", "search", "prune", "routes", "export", "predict",
    "report", "dashboard", "verify", "benchmark", "doctor",
)  # fmt: skip
"""All commands, in the order of the help."""

OK, ERROR, WRONG_CALL, GOES_ON, FAULT, INTERRUPTED = 0, 1, 2, 3, 4, 130
"""Exit codes: ``docs/command-line.md`` says what they mean; scripts rely on them."""

SETTINGS = (tyro.conf.OmitArgPrefixes,)


def load(name: str) -> Callable[..., None]:
    """Import a command: the others' libraries, seconds of imports, are not waited for.

    Raises:
        MoENASError: A library that it needs cannot be imported, which is no fault of ours.
    """
    try:
        module = importlib.import_module(f"moenas.cli.commands.{name}")
    except Exception as error:  # what does not fit its torch raises anything
        if broken := broken_libraries():
            raise MoENASError(explain_broken(broken)) from error
        raise
    command: Callable[..., None] = getattr(module, f"{name}_command")
    return command


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    set_up_logging()
    keep_freed_memory()
    name = arguments[0] if arguments else ""
    if name and not name.startswith("-") and name not in COMMANDS:
        hint = did_you_mean(name, COMMANDS)
        console.print(f"[red]There is no command '{escape(shown(name))}'.[/red] {hint}")
        return WRONG_CALL
    if process_count() > 1 and name != "train":
        console.print(
            "[red]Only 'moenas train' works in several processes.[/red] Start this command without "
            "the launcher."
        )
        return WRONG_CALL
    if repeated := _repeated(arguments):
        console.print(
            f"[red]{repeated} is given twice.[/red] Give it once, with all values after it."
        )
        return WRONG_CALL
    try:
        if name in COMMANDS:
            tyro.cli(load(name), prog=f"moenas {name}", args=arguments[1:], config=SETTINGS)
        else:
            tyro.extras.subcommand_cli_from_dict(
                {each: load(each) for each in COMMANDS},
                prog="moenas",
                description="Small vision models that see people of all skin tones, in any light.",
                args=arguments,
                config=SETTINGS,
            )
    except MoENASError as error:
        told = "Not finished" if error.goes_on else "[red]Error[/red]"
        where = f" (process {process_index()})" if process_index() else ""
        console.print(f"{told}{where}: {escape(shown(str(error)))}", highlight=False)
        return GOES_ON if error.goes_on else ERROR
    except KeyboardInterrupt:
        console.print("Stopped. What was finished is kept; the same command goes on.")
        return INTERRUPTED
    except Exception:
        console.print(masked(traceback.format_exc()), markup=False, highlight=False, soft_wrap=True)
        console.print(
            "[red]This is a fault of MoENAS, not yours.[/red] Please report it with the lines "
            "above and what 'moenas doctor RUN' prints, RUN being the run folder if there is one."
        )
        return FAULT
    return OK


def _repeated(arguments: list[str]) -> str | None:
    """The first flag that comes a second time: tyro would forget its first value."""
    flags = [each.partition("=")[0] for each in arguments if each.startswith("--")]
    seen: set[str] = set()
    for flag in flags:
        if flag in seen:
            return flag
        seen.add(flag)
    return None
