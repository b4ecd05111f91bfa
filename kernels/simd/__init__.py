"""The vector language and what is written in it: elementary functions, packing, the micro-kernel."""
