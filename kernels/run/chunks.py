"""How a batch is cut into chunks of rows. The bits of gradients depend on it, so no machine has a say in it.

Plain Python: the planner calls these, and kernels compile them.
"""

# The gradient of a weight matrix of up to so many elements is summed over each chunk apart, to be shared out; that of a
# larger one is summed over chunk after chunk.
CHUNKED_WEIGHTS = 1 << 14
CHUNK_ROWS = 512
MOST_CHUNKS = 64
# A task takes so many rows of a chunk at a time, which stay in a cache.
ROWS_AT_ONCE = 256
# Where ops couple the rows of a batch, tasks have whole blocks of so many, whose sums are made together.
COUPLED_ROWS = 64


def chunks_of(batch):
    """Return into how many chunks a batch is cut: a power of two, so that two, four or eight tasks have as many."""
    chunks = 1
    while chunks < MOST_CHUNKS and 2 * chunks * CHUNK_ROWS <= batch:
        chunks *= 2
    return chunks


def is_chunked(depth, outs):
    """Return whether a gradient of (depth, outs) weights is summed over each chunk apart."""
    return depth * outs <= CHUNKED_WEIGHTS


def blocks_of(rows):
    """Return how many blocks a chunk of so many rows is added up in: `share` has them as long as each other."""
    return (rows + ROWS_AT_ONCE - 1) // ROWS_AT_ONCE
