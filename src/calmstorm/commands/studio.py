"""`calm studio RUN`: look at a run in the browser."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from calmstorm.commands.console import note, say


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command()(studio)


def studio(
    run: Annotated[Path, typer.Argument(help="Run directory, for example runs/demo.", show_default=False)],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 0,
    host: Annotated[
        str, typer.Option(help="Address to bind to. Anything but loopback lets others read.")
    ] = "127.0.0.1",
) -> None:
    """Serve a run's report to a browser on this machine, read-only."""
    from calmstorm.studio import StudioServer

    with StudioServer(run, host=host, port=port) as server, suppress(KeyboardInterrupt):
        if not _is_loopback(host):
            note(f"listening on {host}: whoever reaches this machine can read {run}; there is no login")
        say(server.url)
        note("Ctrl-C ends it")
        server.serve_forever()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
