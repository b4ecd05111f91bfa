"""Where names of Linux are missing, as on macOS or Windows, everything is imported, trains and saves.

The system itself stays Linux: what a process finds there besides is not tried.
"""

import os
import subprocess
import sys

MODULES = ["resource", "fcntl", "pwd", "grp", "termios", "tty", "pty", "syslog", "spwd", "nis", "posix_ipc"]
OF_OS = [
    "fork", "forkpty", "register_at_fork", "sched_getaffinity", "sched_setaffinity", "getuid", "geteuid", "getgid",
    "getegid", "chown", "fchown", "lchown", "fchmod", "chroot", "mkfifo", "mknod", "killpg", "getpgid", "setsid",
    "getloadavg", "posix_fadvise", "posix_fallocate", "pread", "pwrite", "preadv", "pwritev", "sendfile",
    "memfd_create", "sysconf", "confstr", "statvfs", "nice", "sync", "uname", "O_CLOEXEC", "O_NOFOLLOW", "O_DIRECTORY",
    "O_NONBLOCK", "O_SYNC", "O_DSYNC", "O_PATH", "O_TMPFILE",
]  # fmt: skip
OF_SIGNAL = [
    "SIGKILL", "SIGSTOP", "SIGCONT", "SIGHUP", "SIGPIPE", "SIGALRM", "SIGCHLD", "SIGUSR1", "SIGUSR2", "SIGWINCH",
    "pthread_sigmask", "pthread_kill", "sigwait", "sigpending", "setitimer", "getitimer", "alarm", "pause",
]  # fmt: skip
# Other libraries ask for the system's name, which is Linux still; they have imported what they want before.
HIDE = f"""
import _signal, os, signal, sys
import matplotlib.pyplot, numba, numpy.ma, pyarrow, rich.console, rich.progress, safetensors, scipy, sklearn, typer
import numba.core.typed_passes, numba.np.arrayobj, numba.np.ufunc.parallel, sklearn.neural_network
sys.modules.update(dict.fromkeys({MODULES}))
for module, names in ((os, {OF_OS}), (signal, {OF_SIGNAL}), (_signal, {OF_SIGNAL})):
    for name in names:
        vars(module).pop(name, None)
"""
TRAIN = """
import numpy as np, fastbp, fastbp.sklearn, fastbp.app.cli, fastbp.bench.run, fastbp.data.tables
x = np.random.default_rng(0).standard_normal((600, 300)).astype(np.float32)
trainer = fastbp.Trainer(fastbp.mlp([300, 200, 10], rng=0))
trainer.step(x, np.arange(600) % 10)
for _ in range(2):  # a new file, and one in the place of another
    trainer.model.save("m.safetensors")
    trainer.save_checkpoint("c.safetensors")
assert (fastbp.load("m.safetensors").predict(x) == trainer.model.predict(x)).all()
assert fastbp.Trainer.load_checkpoint("c.safetensors").steps == 1
sys.argv = ["fastbp", "train", "--epochs", "1", "--out", "run"]
fastbp.app.cli.main()
"""


def run(code, folder):
    """Run code in a process and a folder; return its output."""
    environment = os.environ | {"MPLBACKEND": "agg"}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_without_the_names_of_linux_all_is_imported_trains_and_saves(tmp_path):
    out = run(HIDE + TRAIN, tmp_path)
    assert "has no locks" in out  # the folder of a run is not locked there, and this says so
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_the_names_are_hidden(tmp_path):
    look = "import os, signal, sys; print('fork' in vars(os), 'SIGKILL' in vars(signal), sys.modules.get('fcntl', 1))"
    assert run(look, tmp_path) == "True True 1\n"
    assert run(HIDE + look, tmp_path) == "False False None\n"
