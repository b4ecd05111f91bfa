"""The pages of asv: measured here, `make dashboard`, or from results that are kept, `make dashboard-offline`."""

from pathlib import Path
from typing import Annotated

import typer
from _asv import KEPT, OWN, asv, configured
from _libraries import keep_beside, npm
from rich.console import Console

FIRST = "823d0a5"  # the first commit that trains
app = typer.Typer(add_completion=False)
Serve = Annotated[bool, typer.Option(help="Serve the pages on this machine, until Ctrl-C.")]
Port = Annotated[int, typer.Option(help="Where; 0 takes a free one.")]


def publish(serve, port, *, config, html):
    """Make the pages of a configuration, and serve them."""
    if asv("publish", "--no-pull", config=config):
        raise typer.Exit(1)
    if npm():
        keep_beside(html, OWN / "libraries")
    else:
        Console().print("Without npm the pages load jQuery, flot and Bootstrap from the net when they are opened.")
    if serve:
        asv("preview", "--port", port, config=config)


@app.command()
def run(
    commits: Annotated[str, typer.Option(help="A range of git's.")] = f"{FIRST}^..main",
    steps: Annotated[int, typer.Option(min=1, help="How many of them, evenly spread.")] = 10,
    bench: Annotated[str, typer.Option(help="A regular expression: only benchmarks whose name it finds.")] = ".",
    serve: Serve = True,
    port: Port = 8080,
) -> None:
    """Measure commits that have not been measured here, and show all that have."""
    html = OWN / "html"
    config = configured(OWN / "dashboard", html_dir=str(html))
    asv("machine", "--yes", config=config, quiet=True)
    code = asv("run", "--steps", steps, "--skip-existing-successful", "--bench", bench, commits, config=config)
    if code:
        Console().print(f"asv run ended with {code}: some benchmarks failed, as it says above; the others are shown")
    publish(serve, port, config=config, html=html)
    raise typer.Exit(code)


@app.command()
def offline(
    results: Annotated[Path, typer.Option(help="A folder of results.")] = KEPT,
    html: Annotated[Path, typer.Option(help="Where the pages go.")] = OWN / "offline" / "html",
    serve: Serve = True,
    port: Port = 8080,
) -> None:
    """Show results that are kept, and measure nothing."""
    config = configured(OWN / "offline", results_dir=str(results.resolve()), html_dir=str(html.resolve()))
    publish(serve, port, config=config, html=html)


if __name__ == "__main__":
    app()
