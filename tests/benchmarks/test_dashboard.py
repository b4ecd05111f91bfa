"""The dashboard in a real browser, and what compares two commits.

The pages are made of the results that the project keeps, in a repository of the test's own with a commit for each:
so they are the same in a shallow clone or an unpacked sdist.
"""

import contextlib
import importlib.util
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "benchmarks" / "results"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LAYER = "kernels.Forward.time_dense"
SUBJECT = "A change of <b>this</b> & that"  # of each commit, with a number
SLOWED = "figures.OverNumPy.track_dense_forward"  # in the newest commits of the test's repository


def required(found, what):
    """Skip without what is needed, but fail where FASTBP_REQUIRE_BROWSER=1 (as in .ci/run) says that it has to be."""
    if not found:
        if os.environ.get("FASTBP_REQUIRE_BROWSER") == "1":
            pytest.fail(f"{what} is not installed")
        pytest.skip(f"{what} is not installed")
    return found


def git(folder, *arguments, **environment):
    person = {f"GIT_{who}_{what}": "test@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    line = ["git", "-c", "commit.gpgsign=false", *arguments]
    run = subprocess.run(line, cwd=folder, env={**os.environ, **person, **environment}, check=True, capture_output=True)
    return run.stdout.decode().strip()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Publish the kept results and four commits more: two like the last of a machine, two with one figure doubled."""
    required(shutil.which("npm"), "npm")
    folder = tmp_path_factory.mktemp("dashboard")
    copy = folder / "copy"
    shutil.copytree(ROOT / "benchmarks", copy / "benchmarks", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "asv.conf.json", copy)
    kept = {path: json.loads(path.read_text()) for path in (copy / "benchmarks" / "results").glob("*/*-*.json")}
    folders = [path.parent for path in kept]
    folder = max(sorted(set(folders)), key=folders.count)
    newest = max((path for path in kept if path.parent == folder), key=lambda path: kept[path]["date"])
    for i, slower in enumerate((1, 1, 2, 2), 1):
        added = json.loads(json.dumps(kept[newest]))
        added["commit_hash"] = f"added {i}"
        added["date"] = max(content["date"] for content in kept.values()) + 3_600_000
        added["results"][SLOWED][0] = [slower * value for value in added["results"][SLOWED][0]]
        kept[folder / f"added-{i}.json"] = added
    git(copy, "init", "--quiet", "--initial-branch", "main")
    commits = {}
    for content in sorted(kept.values(), key=lambda content: content["date"]):
        if content["commit_hash"] not in commits:
            date = f"{content['date'] // 1000} +0000"
            message = f"{SUBJECT} {len(commits)}\n\nWhy it <i>is</i> so"
            (copy / f"file-{len(commits)}").touch()
            git(copy, "add", f"file-{len(commits)}")
            git(copy, "commit", "--quiet", "-m", message, GIT_AUTHOR_DATE=date, GIT_COMMITTER_DATE=date)
            commits[content["commit_hash"]] = git(copy, "rev-parse", "HEAD")
    for path, content in kept.items():
        path.unlink(missing_ok=True)
        content["commit_hash"] = commits[content["commit_hash"]]
        name = f"{content['commit_hash'][:8]}-{content['env_name']}.json"
        (path.parent / name).write_text(json.dumps(content))
    command = [sys.executable, "benchmarks/dashboard.py", "offline", "--no-serve"]
    run = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    return copy / ".asv" / "offline" / "html"


@pytest.fixture(scope="module")
def address(pages):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(pages)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser():
    executable = required(next(filter(None, map(shutil.which, BROWSERS)), None), "Chromium")
    required(importlib.util.find_spec("playwright"), "playwright")
    api = importlib.import_module("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, address):
    """Open a page; fail on what its console says, and on anything that it wants from elsewhere."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    complaints = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: request.url.startswith((address, "data:")) or complaints.append(request.url))
    page.on("response", lambda response: response.ok or complaints.append(f"{response.status} {response.url}"))
    yield page
    page.close()
    assert not complaints


def points(page):
    """Return the values in the graph that is shown, line by line, once no line is still on its way."""
    page.wait_for_function("$('#main-graph').data('plot') !== undefined && $.active === 0")
    return page.evaluate(
        "$('#main-graph').data('plot').getData().map(line => line.data.filter(p => p[1] !== null).map(p => p[1]))"
    )


def test_grid_names_every_benchmark(page, address):
    page.goto(address)
    page.wait_for_selector(".benchmark-container")
    shown = page.locator(".benchmark-container").count()
    known = json.loads((KEPT / "benchmarks.json").read_text())
    assert shown == sum(isinstance(about, dict) for about in known.values()) > 20


def test_graph_has_a_point_for_each_commit(page, address, pages):
    page.goto(f"{address}#{LAYER}")
    lines = points(page)
    results = (pages.parents[2] / "benchmarks" / "results").glob("*/*-*.json")
    commits = Counter(
        (path.parent, path.name.endswith("native.json")) for path in results
    )  # of a machine, with kernels
    assert {len(line) for line in lines} == set(commits.values())
    assert all(value > 0 for line in lines for value in line)


def test_parameters_switch(page, address):
    page.goto(f"{address}#{LAYER}")
    both = points(page)
    buttons = page.locator("#graphdisplay-navigation .btn-group a, #graphdisplay-navigation button")
    (button,) = (b for b in buttons.all() if b.inner_text().strip() == "1024x1024x1024")
    button.click()  # one line less, or more
    page.wait_for_function(f"$('#main-graph').data('plot').getData().length !== {len(both)}")
    assert points(page) != both


def test_list_of_regressions_names_what_became_slower(page, address):
    page.goto(f"{address}#regressions")
    page.wait_for_selector("#regressions-body table tbody tr")
    rows = page.locator("#regressions-body table tbody tr").all_inner_texts()
    assert any(SLOWED in row for row in rows)
    assert not any("accuracy" in row or "percent_of_peak" in row for row in rows)


def test_every_machine_of_the_history_is_shown(page, address):
    page.goto(f"{address}#{LAYER}")
    points(page)
    known = page.evaluate("Object.keys($.asv.main_json.machines)")
    assert sorted(known) == sorted({path.parent.name for path in KEPT.glob("*/machine.json")})
    paths = page.evaluate("$.asv.main_json.graph_param_list.map(choice => choice.machine)")
    assert set(paths) == set(known)


@pytest.mark.parametrize("seed", range(2))
def test_a_click_on_a_point_opens_a_page_about_its_commit(page, address, seed):
    page.goto(f"{address}#{LAYER}")
    points(page)
    places = page.evaluate(
        "() => { const plot = $('#main-graph').data('plot'), box = plot.offset();"
        " return plot.getData().flatMap(line => line.data.filter(p => p[1] !== null).map(p => {"
        " const at = plot.pointOffset({x: p[0], y: p[1]});"
        " const rect = $('#main-graph')[0].getBoundingClientRect();"
        " return [rect.left + at.left, rect.top + at.top, $.asv.get_commit_hash(p[0])]; })) }"
    )
    x, y, commit = random.Random(seed).choice(places)
    with page.context.expect_page() as opened:
        page.mouse.move(x, y)
        page.mouse.click(x, y)
    shown = opened.value
    shown.wait_for_load_state()
    try:
        part = shown.locator("section:target")
        assert part.count() == 1, shown.url
        assert part.locator("code").inner_text().startswith(shown.url.partition("#")[2])
        assert part.locator("h2").inner_text().startswith(SUBJECT)  # as it was written, and not as HTML
        assert "Why it <i>is</i> so" in part.inner_text()
        part.locator("summary").click()
        assert "file-" in part.locator("details").inner_text()
        assert shown.url.endswith(commit)
    finally:
        shown.close()


def test_a_commit_of_the_list_of_regressions_has_a_page_too(page, address):
    page.goto(f"{address}#regressions")
    page.wait_for_selector("#regressions-body table tbody tr")
    links = page.locator("#regressions-body table tbody a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    (link, *_) = (link for link in links if "commits.html" in link)
    page.goto(address + link)
    assert page.locator("section:target h2").inner_text().startswith(SUBJECT)


# The server


SERVE = """
import sys
sys.path.insert(0, {folder!r})
import dashboard
dashboard.asv = lambda *arguments, **more: 0  # the pages are there
dashboard.keep_beside = dashboard.configured = lambda *arguments, **more: None
sys.argv[1:] = [*sys.argv[2:], "--html", {html!r}]
dashboard.app()
"""


@pytest.fixture
def served(tmp_path):
    """Return a command that runs the Makefile's own line, with the making of the pages left out."""
    required(shutil.which("make"), "make")
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "index.html").write_text("the dashboard")
    code = SERVE.format(folder=str(ROOT / "benchmarks"), html=str(tmp_path / "html"))
    (tmp_path / "serve.py").write_text(code)
    (tmp_path / "python").write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path}/serve.py "$@"\n')
    (tmp_path / "python").chmod(0o755)
    return ["make", "-C", ROOT, "-o", ".venv/.asv-installed", f"BIN={tmp_path}", "dashboard-offline"]


def answers(port):
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as page:
        return page.read() == b"the dashboard"
    return False


@pytest.mark.parametrize(("number", "kill"), [(signal.SIGTERM, os.kill), (signal.SIGINT, os.killpg)])
def test_no_server_outlives_the_make_that_started_it(served, number, kill):
    """TERM is for make alone; Ctrl-C comes to all that the terminal runs."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*served, "PORT=0"], start_new_session=True, **pipes) as make:
        port = next(int(found[1]) for line in make.stdout if (found := re.match(r"http://127.0.0.1:(\d+)/", line)))
        assert answers(port)
        kill(make.pid, number)
        make.communicate(timeout=20)  # the pipes are closed when nobody holds them any more
    assert not answers(port)


def test_a_taken_port_is_one_line(served):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run([*served, f"PORT={port}"], capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert line == f"port {port}: Address already in use; --port 0 takes a free one"
