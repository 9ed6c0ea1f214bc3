"""The entry point. Only here does an OrchError become output and an exit code."""

from __future__ import annotations

import logging
import sys

import click
from rich.markup import escape

from pgha_orch import __version__
from pgha_orch.commands import (
    backup,
    deploy,
    destroy,
    drill,
    hosts,
    images,
    inventory,
    machines,
    preflight,
    restore,
    status,
    test,
)
from pgha_orch.commands.display import err
from pgha_orch.errors import OrchError

INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, prog_name="pgha-orch")
@click.pass_context
def cli(context: click.Context, debug: bool) -> None:
    """Deploy and operate PostgreSQL high-availability clusters made of immutable images.

    Exit codes: 0 done, 1 an operation failed or a cluster is unhealthy, 2 bad usage or inventory, 130 Ctrl-C.
    """
    context.obj = debug
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, format="%(levelname)s: %(message)s")
    for noisy in ("httpx", "httpcore", "paramiko", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


for command in (
    deploy.deploy,
    deploy.plan,
    status.status,
    drill.drill,
    machines.exec_,
    machines.ssh,
    machines.logs,
    machines.psql,
    destroy.destroy,
    backup.backup,
    restore.restore,
    hosts.bootstrap,
    hosts.trust,
    preflight.preflight,
    inventory.check,
    inventory.render,
    inventory.schema,
    images.image,
    test.test,
):
    cli.add_command(command)


def main() -> None:
    """Run the command line; never returns."""
    try:
        code = cli.main(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except click.exceptions.Abort:
        err.print("interrupted")
        sys.exit(INTERRUPTED)
    except KeyboardInterrupt:
        err.print("interrupted")
        sys.exit(INTERRUPTED)
    except click.ClickException as exc:
        exc.show()
        sys.exit(exc.exit_code)
    except OrchError as exc:
        if "--debug" in sys.argv:
            raise
        err.print(f"[red]error:[/] {escape(exc.message)}")
        if exc.hint:
            err.print(f"  next: {escape(exc.hint)}")
        sys.exit(exc.exit_code)
