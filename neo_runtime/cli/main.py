"""The `neo` command. Heavy imports happen inside commands, so that `neo --help` is quick."""

from __future__ import annotations

import os
import sys

import typer
from pydantic import ValidationError

from neo_runtime.cli import (
    ask,
    catalog,
    data,
    demo,
    embed,
    evaluate,
    kafka,
    letters,
    serve,
    sids,
    snapshot,
    storage,
    train,
)
from neo_runtime.cli.show import errors
from neo_runtime.errors import NeoError
from neo_runtime.observability.logging import configure_logging

app = typer.Typer(
    help="NEO Runtime: one language model that answers in text and in items of a live catalog.\n\n"
    "Start with `neo demo`. Every setting can also be a NEO_* variable or stand in neo.toml.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command()(demo.demo)
app.command()(serve.serve)
app.command()(ask.rank)
app.command()(ask.generate)
app.command()(ask.status)
app.command()(evaluate.evaluate)
catalog.app.command()(storage.info)
catalog.app.command()(storage.verify)
catalog.app.add_typer(letters.app, name="dead-letters")
app.add_typer(catalog.app, name="catalog")
app.add_typer(catalog.items, name="items")
app.add_typer(sids.app, name="sids")
app.add_typer(data.app, name="data")
app.add_typer(train.app, name="train")
app.add_typer(snapshot.app, name="snapshot")
app.add_typer(embed.app, name="embed")
app.add_typer(kafka.app, name="kafka")


def main() -> None:
    """Errors that a person can mend are one line and exit code 1; anything else is a bug and shows its traceback."""
    configure_logging("warning")  # workers say more; whoever it is, standard output is for answers alone
    try:
        app()
    except NeoError as error:
        _say(f"{error} [{error.reason}]")
    except ValidationError as error:
        first = error.errors()[0]
        _say(f"setting {'.'.join(map(str, first['loc']))}: {first['msg']}")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _say(message: str) -> None:
    errors.print(f"neo: {message}", markup=False, highlight=False, soft_wrap=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
