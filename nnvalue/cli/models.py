"""`nnvalue models`."""

from __future__ import annotations

import json

import click

from nnvalue.cli.examples import examples
from nnvalue.cli.terminal import open_console, print_json


@click.command(
    "models",
    epilog=examples(
        "nnvalue models",
        "nnvalue models --remote",
        "nnvalue models --host https://ndif.my-lab.org --json",
    ),
)
@click.option("--remote", is_flag=True, help="Also ask NDIF, or the server that nnsight is configured with.")
@click.option("--host", metavar="URL", help="Also ask this NDIF server what it runs.")
@click.option("--allow-http", is_flag=True, help="Allow http:// to another machine.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
def command(remote: bool, host: str | None, allow_http: bool, as_json: bool) -> None:
    """What is embedded and which architectures are known."""
    from nnvalue.cli.tables import new_table, print_table
    from nnvalue.models import EMBEDDED_NAME, SITES, RemoteOptions, find_server, known_families
    from nnvalue.organism import folder

    config = json.loads((folder() / "config.json").read_text(encoding="utf-8"))
    training = json.loads((folder() / "training.json").read_text(encoding="utf-8"))
    embedded = {
        "name": EMBEDDED_NAME,
        "architecture": config["model_type"],
        "layers": config["num_hidden_layers"],
        "neurons_a_layer": config["intermediate_size"],
        "parameters": training["parameters"],
    }
    server = find_server(host or remote, RemoteOptions(allow_http=allow_http), needs_key=False)
    deployed = server.deployed() if server else []
    if as_json:
        known = {"embedded": [embedded], "architectures": known_families(), "sites": SITES}
        print_json({**known, **({"host": server.host, "deployed": deployed} if server else {})})
        return
    console = open_console()
    console.print("Embedded model (used without --model)", style="bold")
    table = new_table(*(name.replace("_", " ") for name in embedded), keys=2)
    table.add_row(*(f"{cell:,}" if isinstance(cell, int) else cell for cell in embedded.values()))
    print_table(console, table)
    console.print(f"Known architectures: {', '.join(known_families())}. Sites: {', '.join(SITES)}.")
    console.print("Any model of these: nnvalue locate --model FOLDER_OR_HUB_ID")
    if server:
        console.print(f"{server.host} runs: {', '.join(deployed) or 'nothing that it tells of'}", soft_wrap=True)
