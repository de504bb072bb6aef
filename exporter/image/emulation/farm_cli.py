"""The commands ``fieldloop farm``: emulated boards for trying a fleet without hardware."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from exporter.failures import exit_codes

app = typer.Typer(no_args_is_help=True, help="Run emulated boards, for trying a fleet without hardware.")

Folder = Annotated[Path, typer.Option("--folder", help="Where the boards' cards, consoles and process ids lie.")]
Name = Annotated[str, typer.Argument(help="Board, as `farm list` calls it.")]
Names = Annotated[list[str] | None, typer.Argument(help="Boards; without, all of them.")]
FARM = Path("farm")


@app.command("up")
def up(
    image: Annotated[
        Path | None, typer.Option("--image", help="Image of their cards; needed once. It must carry a claim token.")
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, help="How many boards of this kind shall run.")] = 1,
    board: Annotated[str, typer.Option("--board", help="pi3, or virt, which is faster.")] = "pi3",
    port: Annotated[
        list[int] | None,
        typer.Option("--port", min=1, max=65535, help="Port of the boards to be reached from here; repeatable."),
    ] = None,
    memory: Annotated[int | None, typer.Option(min=64, help="MiB for each; pi3 has 1024.")] = None,
    cpus: Annotated[int | None, typer.Option(min=1, max=8, help="Processors of each; pi3 has 4.")] = None,
    folder: Folder = FARM,
) -> None:
    """Let n boards run, each with a card of its own over the same image; those that were stopped go on."""
    with exit_codes():
        from exporter.image.emulation.farm import FarmRequest, farm_up

        request = FarmRequest(n, board, image, tuple(port or ()), memory, cpus)
        for started in farm_up(folder, request):
            ports = "".join(f", {each.guest_port} at 127.0.0.1:{each.host_port}" for each in started.forwards)
            typer.echo(f"{started.name} runs{ports}")
        typer.echo(f"follow one: fieldloop farm logs {board}-1 --follow; stop all: fieldloop farm down")


@app.command("list")
def list_command(
    folder: Folder = FARM, *, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List the boards: machine, process, ports."""
    with exit_codes():
        import msgspec

        from exporter.image.emulation.farm_state import load_boards

        boards = load_boards(folder)
        if as_json:
            rows = [{**msgspec.to_builtins(board), "running": board.is_running} for board in boards]
            typer.echo(msgspec.json.encode(rows).decode())
            return
        if not boards:
            typer.echo(f"no board in {folder}: fieldloop farm up --image IMG -n 3")
        for board in boards:
            state = f"runs as process {board.process.pid}" if board.process and board.is_running else "stopped"
            ports = "".join(f", {each.guest_port} at 127.0.0.1:{each.host_port}" for each in board.forwards)
            typer.echo(f"{board.name}  {board.machine}  {state}{ports if board.is_running else ''}")


@app.command("down")
def down(
    names: Names = None,
    folder: Folder = FARM,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds in which a board may stop by itself; then its power is cut.")
    ] = 20.0,
    *,
    forget: Annotated[bool, typer.Option("--forget", help="Throw their cards away, too.")] = False,
) -> None:
    """Stop boards. Their cards stay, so that `farm up` goes on with the same devices."""
    with exit_codes():
        from edge_agent.clock import SystemClock
        from exporter.image.emulation.farm import farm_down

        for name, by_itself in farm_down(folder, names or (), SystemClock(), forget=forget, power_down_s=wait):
            typer.echo(f"{name} stopped{'' if by_itself else ': its power was cut'}{', its card is gone' * forget}")


@app.command("logs")
def logs(
    name: Name,
    folder: Folder = FARM,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the board stops or Ctrl-C.")] = False,
) -> None:
    """Print what a board's console said."""
    with exit_codes():
        from exporter.image.emulation.following import console_text, follow_console

        if not follow:
            typer.echo(console_text(folder, name), nl=False)
            return
        for piece in follow_console(folder, name):
            typer.echo(piece, nl=False)


@app.command("console")
def console(name: Name, folder: Folder = FARM) -> None:
    """Join this terminal with a board's console. Ctrl-] leaves it."""
    with exit_codes():
        from exporter.image.emulation.farm_state import load_board
        from exporter.image.emulation.terminal import join_console

        load_board(folder / name)
        join_console(folder / name, sys.stdin.fileno(), sys.stdout.fileno())
