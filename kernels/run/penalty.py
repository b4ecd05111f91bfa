"""What training steps with a penalty of their own take: see `penalized`."""

# Rows of `numbers`, a column a step: its weight decay and eps, read; the sum of squares of the weights, written.
DECAY, STEP_EPS, SQUARES, NUMBERS = range(4)
