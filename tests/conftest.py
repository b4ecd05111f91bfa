"""Fixtures that every test may use."""

import importlib
import os
import sysconfig
import warnings
from pathlib import Path

import pytest
from hypothesis import settings

# Repeatable, and no verdict on speed: a shared machine, or a first compile, is slow now and then.
settings.register_profile("fastbp", derandomize=True, deadline=None)
settings.load_profile("fastbp")


NATIVE = os.environ.get("FASTBP_REQUIRE_KERNELS") == "native"


def pytest_sessionstart():
    """Refuse to test other kernels than those that are wanted: for `make test-native`."""
    if NATIVE:
        import fastbp

        found, folder = fastbp.config()["kernels"], Path(fastbp.__file__).parent
        if not found.startswith("native") or not folder.is_relative_to(sysconfig.get_path("purelib")):
            pytest.exit(f"expected prebuilt kernels of an installed wheel, got {found} in {folder}", 3)


def pytest_collection_modifyitems(config, items):
    """Mark what compares with a peer, for `make test-peers`; leave out tests of the other kernels."""
    for item in items:
        if "peer" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.peer)
    other = "jit" if NATIVE else "native"
    config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker(other)])
    items[:] = [item for item in items if not item.get_closest_marker(other)]


def _import(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a library deprecates inside is not ours to fix
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            if os.environ.get("FASTBP_REQUIRE_PEERS") == "1":
                raise
            pytest.skip(f"{name} is not installed")


@pytest.fixture(scope="session")
def library():
    """Import a library of the extra `dev`: ``library("pandas")``. Without it the test is skipped."""
    return _import


@pytest.fixture(scope="session")
def peer():
    """Import another library to compare with, which `dev` does not bring: ``peer("torch")``.

    Without it the test is skipped, unless FASTBP_REQUIRE_PEERS=1 (as in .ci/run) says that it has
    to be there: then the ImportError fails the test.
    """
    return _import


@pytest.fixture(scope="session")
def torch(peer):
    return peer("torch")
