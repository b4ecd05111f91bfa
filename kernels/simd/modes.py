"""What the micro-kernel does beside its multiplications."""

# Mode, a sum of flags. The chains begin at zero, or at what C holds (ACCUMULATE). Where they end, a bias is added
# (BIAS), relu is applied (RECTIFY), or a gradient passes where relu's output, in `below`, is not zero (GATE), or is
# multiplied by a slope that stands there (SCALE). C, and what is laid out as C, may have ROOM up to whole vectors: then
# no store needs a mask. So may B (B_ROOM). What stands in `below` may be this task's, to be written soon after (TAKE):
# its lines are taken from other cores meanwhile.
START, ACCUMULATE, BIAS, RECTIFY, GATE, ROOM, B_ROOM, TAKE, SCALE = 0, 1, 2, 4, 8, 16, 32, 64, 128
