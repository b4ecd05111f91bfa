"""Numbers of this machine that compiled code reads when it runs, so that one machine code serves all of a kind of CPU.

No bit of a result depends on them.
"""

from .caches import caches
from .isa import isa

# A block of B, at most K_BLOCK rows of some panels, stays in the second-level cache while rows of A meet it.
K_BLOCK = 512
LARGEST_BLOCK = 1 << 20


def panel_bytes() -> int:
    """Return the size of a panel of K_BLOCK rows, as wide as the micro-kernel's tile."""
    instructions = isa()
    return K_BLOCK * instructions.tile[1] * instructions.vector_bytes


def most_panels() -> int:
    """Return how many panels a block has at most, on any machine."""
    return LARGEST_BLOCK // panel_bytes()


def panels() -> int:
    """Return how many panels a block has, by the second-level cache."""
    return max(1, min(LARGEST_BLOCK, caches()[2] // 2) // panel_bytes())


CONSTANTS = {"panels": panels}
