"""The libraries of asv's pages, kept beside them.

The pages load jQuery, flot and others from the net each time they are opened. Here npm brings them once, so that the
pages work on a machine, or in a test, that reaches a package mirror and no more.
"""

import base64
import hashlib
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

# What a page loads, by the end of its address: the package of npm, and the file in it.
PACKAGES = {
    "/jquery-3.3.1.min.js": ("jquery@3.3.1", "dist/jquery.min.js"),
    "/jquery.flot.min.js": ("flot@0.8.3", "jquery.flot.js"),
    "/jquery.flot.time.min.js": ("flot@0.8.3", "jquery.flot.time.js"),
    "/jquery.flot.selection.min.js": ("flot@0.8.3", "jquery.flot.selection.js"),
    "/jquery.flot.categories.min.js": ("flot@0.8.3", "jquery.flot.categories.js"),
    "/jquery.flot.orderBars.js": ("flot-orderbars@1.0.0", "js/jquery.flot.orderBars.js"),
    "/stupidtable.min.js": ("stupid-table-plugin@1.1.3", "stupidtable.js"),
    "/md5.min.js": ("blueimp-md5@2.19.0", "js/md5.min.js"),
    "/bootstrap.min.js": ("bootstrap@3.1.1", "dist/js/bootstrap.min.js"),
    "/bootstrap.min.css": ("bootstrap@3.1.1", "dist/css/bootstrap.min.css"),
}
# The page has the digest of a shortened copy of these; npm has them as they were written.
WRITTEN_OUT = {"flot@0.8.3", "stupid-table-plugin@1.1.3"}
TAG = re.compile(r'<(?:script|link)\b[^>]*?(?:src|href)="(https://[^"]*)"[^>]*>')


def bring(cache):
    """Fetch the packages that are not in the folder yet; return their archives by name.

    Raises OSError without npm, CalledProcessError where it reaches no packages.
    """
    cache = Path(cache)
    archives = {package: cache / f"{package.replace('@', '-')}.tgz" for package, _ in PACKAGES.values()}
    missing = [package for package, archive in archives.items() if not archive.exists()]
    if missing:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as aside:
            subprocess.run(["npm", "pack", "--silent", *missing], cwd=aside, check=True, stdout=subprocess.DEVNULL)
            for package in missing:
                Path(aside, archives[package].name).rename(archives[package])
    return archives


def read(archive, name):
    """A file's bytes from an npm package."""
    with tarfile.open(archive) as files:
        return files.extractfile(f"package/{name}").read()


def keep_beside(html, cache):
    """Copy the libraries into the folder of the pages, and let the pages load those copies."""
    html, archives = Path(html), bring(cache)
    page = html / "index.html"
    (html / "libraries").mkdir(exist_ok=True)

    def local(found):
        tag, address = found[0], found[1]
        ending = f"/{address.rsplit('/', 1)[1]}"
        if ending not in PACKAGES:
            raise ValueError(f"asv's pages load {address}, which benchmarks/_libraries.py does not know")
        package, name = PACKAGES[ending]
        content = read(archives[package], name)
        (html / "libraries" / ending[1:]).write_bytes(content)
        method, digest = re.search(r'integrity="(sha\d+)-([^"]+)"', tag).groups()
        if package in WRITTEN_OUT:
            tag = re.sub(r' integrity="[^"]*"', "", tag)
        elif base64.b64encode(hashlib.new(method, content).digest()).decode() != digest:
            raise ValueError(f"{name} of {package} is not what asv's pages expect of {address}")
        return tag.replace(address, f"libraries{ending}")

    page.write_text(TAG.sub(local, page.read_text()))
