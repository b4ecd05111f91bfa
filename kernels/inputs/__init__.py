"""Inputs: rows that are no array of the model's own elements, read and converted a few at a time.

An input is a table of integers, see `registry`. Its first is the address of a *reader*, a compiled function that knows
the rest: it writes some rows to memory as elements of the model. A step reads its batch so, in `gather` of
`run.passes`; the entry `read_rows` is for Python.

There is a reader for each type of elements that NumPy's arrays may have (`ELEMENTS`), whatever their strides and byte
order, with a shift and a scale for each column or none. Only those in use are compiled.
"""

from .registry import ELEMENTS, READ, Element, numbers_table, reader

__all__ = ["ELEMENTS", "READ", "Element", "numbers_table", "reader"]
