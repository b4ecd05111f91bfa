"""How kernels are compiled, cached, called and shared out to threads."""
