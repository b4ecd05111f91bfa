"""A page about the commits that were measured, which the graphs link to: a clone has no host that would show them."""

import html
import json
from pathlib import Path

from _asv import git, kernels_of

PAGE = "commits.html"
LINK = f"{PAGE}#"  # asv puts the first characters of a hash after it, as many as SHOWN
SHOWN = 8

HEAD = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Measured commits</title><style>
body { font: 15px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }
section { border-left: 4px solid transparent; padding: 0 1em }
section:target { border-color: #2a6496; background: #eef4fa }
h2 { font-size: 1.15em; margin-bottom: 0 } pre { overflow-x: auto }
</style></head><body>
<h1>Measured commits</h1><p>The newest first, each with what has changed since the one measured before it.</p>
"""


def measured_commits(results):
    """Return the hashes of the commits that a folder has results of, the oldest first, and what measured each."""
    found = {}
    for path in Path(results).glob("*/*-*.json"):
        result = json.loads(path.read_text())
        where = f"{path.parent.name} ({kernels_of(result)})"
        found.setdefault((result["date"], result["commit_hash"]), []).append(where)
    return {commit: sorted(found[date, commit]) for date, commit in sorted(found)}


def section(commit, before, machines):
    """Write about one commit: what it is, and what lies between it and another."""
    about = git("show", "--no-patch", "--format=%s%n%cd%n%b", "--date=iso", commit) or "not in this clone\n"
    subject, date, body = (about + "\n").split("\n", 2)
    since = f"{before}..{commit}" if before else f"{commit}^!"
    parts = [
        f'<section id="{commit[:SHOWN]}"><h2>{html.escape(subject)}</h2>',
        f"<p><code>{commit}</code> {date}; measured on {html.escape(', '.join(machines))}</p>",
        f"<pre>{html.escape(body.strip())}</pre>",
        f"<pre>{html.escape(git('log', '--first-parent', '--format=%h %s', since))}</pre>",
        f"<details><summary>Files</summary><pre>{html.escape(stat(before, commit))}</pre></details></section>",
    ]
    return "\n".join(part for part in parts if part != "<pre></pre>")


def stat(before, commit):
    """Return the changed files with the number of lines, between two commits or of one."""
    if before:
        return git("diff", "--stat=100", before, commit)
    return git("show", "--stat=100", "--format=", commit)


def write_page(results, folder):
    """Write the page about all commits that the results are of."""
    commits = measured_commits(results)
    before = dict(zip(list(commits)[1:], commits, strict=False))
    text = "\n".join(section(commit, before.get(commit), commits[commit]) for commit in reversed(commits))
    Path(folder, PAGE).write_text(HEAD + text + "\n</body></html>\n")
