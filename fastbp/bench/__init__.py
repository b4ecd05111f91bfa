"""Benchmarks: the same work done by fastbp and by other libraries, side by side.

`cases` says what is measured. One file a library holds how that library does it. `worker` is a process that holds one
library at one number of threads, `workers` starts and ends such processes, `measure` lets them take turns, `report`
and `roofline` show the result. `fastbp bench` and ``benchmarks/peers.py`` are made of these.
"""
