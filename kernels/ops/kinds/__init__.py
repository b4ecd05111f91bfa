"""Kinds of layers, a file each: how one is laid out in a plan, its twin in NumPy, and where its compiled ops are.

The compiled ops of a kind are in a file of the same name in the folder above.
"""

from ...registry import load_folder
from ..registry import KINDS
from .dense import DENSE
from .sparse_dense import SPARSE_DENSE

__all__ = ["DENSE", "KINDS", "SPARSE_DENSE"]

load_folder(__name__, __path__, KINDS, leave=[])
