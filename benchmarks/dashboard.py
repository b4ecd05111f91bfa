"""The pages of asv: measured here, `make dashboard`, or from results that are kept, `make dashboard-offline`."""

import contextlib
import shlex
import subprocess
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated

import typer
from _alone import alone
from _asv import KEPT, OWN, asv, configured, git, know_machine, refuse, require_rows
from _commits import LINK, SHOWN, write_page
from _kernels import measure
from _libraries import keep_beside
from asv.util import pick_n
from rich.console import Console

FIRST = "823d0a5"  # the first commit that trains
app = typer.Typer(add_completion=False)
Serve = Annotated[bool, typer.Option(help="Serve the pages on this machine, until Ctrl-C.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Where; 0 takes a free one.")]


def make_pages(config, html, results):
    """Make the pages of a configuration: asv's, those libraries that they load, and one about the commits."""
    if asv("publish", "--no-pull", config=config):
        refuse("asv publish could not make the pages, as it says above")
    write_page(results, html)
    try:
        keep_beside(html, OWN / "libraries")
    except (OSError, subprocess.CalledProcessError) as error:
        Console().print(
            f"The pages load jQuery, flot and Bootstrap from the net when they are opened: npm says {error}"
        )


def publish(serve, port, *, html):
    """Serve the pages, until Ctrl-C."""
    if serve:
        # In this process: whatever ends it ends the server.
        try:
            server = ThreadingHTTPServer(("127.0.0.1", port), partial(SimpleHTTPRequestHandler, directory=str(html)))
        except OSError as error:
            Console(stderr=True).print(f"port {port}: {error.strerror}; --port 0 takes a free one", soft_wrap=True)
            raise typer.Exit(2) from None
        with server, contextlib.suppress(KeyboardInterrupt):
            Console().print(f"http://127.0.0.1:{server.server_port}/ until Ctrl-C", soft_wrap=True)
            server.serve_forever()


def some_of(commits, steps):
    """Return the hashes of so many commits of a range of git's, evenly spread along first parents."""
    found = git("rev-list", "--first-parent", *shlex.split(commits), "--").split()
    return pick_n(found, steps) or refuse(f"{commits!r} is no range of commits of this repository, or an empty one")


@app.command()
def run(
    commits: Annotated[str, typer.Option(help="A range of git's.")] = f"{FIRST}^..HEAD",
    steps: Annotated[int, typer.Option(min=1, help="How many of them, evenly spread.")] = 10,
    bench: Annotated[str, typer.Option(help="A regular expression: only benchmarks whose name it finds.")] = ".",
    serve: Serve = True,
    port: Port = 8080,
) -> None:
    """Measure commits that have not been measured here, and show all that have."""
    require_rows(bench)
    hashes = some_of(commits, steps)
    html, results, folder = OWN / "html", OWN / "results", OWN / "dashboard"
    with alone():
        know_machine()
        code = measure(hashes, folder, "--skip-existing-successful", f"--bench={bench}")
        if code:
            Console().print(f"asv run ended with {code}: some rows failed, as it says above; the others are shown")
        config = configured(folder, html_dir=str(html), show_commit_url=LINK, hash_length=SHOWN)
        make_pages(config, html, results)
    publish(serve, port, html=html)
    raise typer.Exit(code)


@app.command()
def offline(
    results: Annotated[Path, typer.Option(help="A folder of results.")] = KEPT,
    html: Annotated[Path, typer.Option(help="Where the pages go.")] = OWN / "offline" / "html",
    serve: Serve = True,
    port: Port = 8080,
) -> None:
    """Show results that are kept, and measure nothing."""
    folders = {"results_dir": str(results.resolve()), "html_dir": str(html.resolve())}
    with alone(OWN / "offline"):
        config = configured(OWN / "offline", **folders, show_commit_url=LINK, hash_length=SHOWN)
        make_pages(config, html, results)
    publish(serve, port, html=html)


if __name__ == "__main__":
    app()
