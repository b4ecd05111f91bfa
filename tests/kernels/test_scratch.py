"""Blocks of products are in memory of the calling thread's own, not on its stack."""

import subprocess
import sys

SMALL_STACKS = """
import resource, threading
import numpy as np, fastbp

def work(sizes, batch):
    x = np.random.default_rng(0).standard_normal((batch, sizes[0])).astype(np.float32)
    trainer = fastbp.Trainer(fastbp.mlp(sizes, rng=0))
    losses.append(trainer.step(x, np.arange(batch) % sizes[-1]))
    trainer.model.predict(x)

fastbp.set_num_threads(1)
losses, cases = [], [([300, 200, 10], 256), ([3000, 20], 200), ([5, 4], 3)]
for case in cases:
    work(*case)
threading.stack_size(128 << 10)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for case in cases * 40:
    thread = threading.Thread(target=work, args=case)
    thread.start()
    thread.join()
grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
assert losses == losses[:3] * 41, losses
print(grown)
"""


def test_a_thread_of_a_small_stack_trains_and_predicts_to_the_same_bits_and_leaves_no_memory_behind():
    done = subprocess.run([sys.executable, "-c", SMALL_STACKS], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert int(done.stdout) < 30_000  # kB; 120 threads with a megabyte each are more than 100 MB
