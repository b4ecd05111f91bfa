"""The pool of threads of native/pool.c: torture/pool.c opens regions in ways that a program would not."""

import resource

import pytest

from torture import pool


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    found = pool.build(tmp_path_factory.mktemp("pool"), "plain")
    return found or pytest.skip("no C compiler")


def test_pieces_are_done_where_the_system_gives_no_thread(program):
    assert pool.run(program, "alone") == ""


def test_idle_threads_sleep(program):
    assert pool.run(program, "idle") == ""


def test_a_thread_that_sleeps_is_not_woken_on_the_core_of_the_caller(program):
    assert pool.run(program, "cores") == ""


def test_no_thread_of_the_pool_takes_a_signal(program):
    assert pool.run(program, "signals") == ""


def test_a_region_has_no_more_threads_than_asked_after_a_wider_one(program):
    assert pool.run(program, "wide") == ""


def test_a_process_ends_while_regions_are_open(program):
    assert pool.run(program, "exit") == ""


def test_threads_have_a_stack_of_their_own_size(program):
    before = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(resource.RLIMIT_STACK, (256 << 10, before[1]))  # new threads' size, where none is set
    try:
        assert pool.run(program, "stack") == ""
    finally:
        resource.setrlimit(resource.RLIMIT_STACK, before)
