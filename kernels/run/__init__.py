"""Plans of networks, and the passes of a training step over them."""
