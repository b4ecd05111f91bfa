"""Long runs that look for crashes, hangs and wrong bits. `make torture`; shorter forms of all are in the tests.

A check is a function that takes how often to try and returns a `Result`. What may crash runs in a process of its own:
see `frame.py`. A file a subject; `CHECKS` in `__main__.py` says how often each is tried in the long run.
"""
