"""Callbacks that stop a run, look at it, or change it on its way."""

import os
import signal

import fastbp


class Stop(Exception):
    """Raised by a callback: the run is to be resumed."""


class Interrupt(fastbp.Callback):
    """Stops a run at a step, by an exception or a real signal."""

    def __init__(self, at, way):
        self.at, self.way, self.calls = at, way, 0

    def on_steps_end(self, trainer):
        self.calls += 1
        if self.calls == self.at:
            if self.way == "exception":
                raise Stop
            os.kill(os.getpid(), signal.SIGINT)


class Look(fastbp.Callback):
    """Does at some steps what must change nothing."""

    def __init__(self, look):
        self.look = look

    def on_steps_end(self, trainer):
        self.look(trainer)


class Act(fastbp.Callback):
    """Changes the training at exact multiples of `every` steps."""

    def __init__(self, every, act):
        self.every, self.act = every, act

    def on_steps_end(self, trainer):
        self.act(trainer)
