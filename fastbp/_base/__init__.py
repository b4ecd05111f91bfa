"""Checks, memory, threads, interrupts and files: what every other room stands on."""
