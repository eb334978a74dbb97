"""An objective that leaves something behind in some iterations, as the text of a module.

The module has `LEFT`, which iteration leaves what. Every iteration says how it found its process: one that is not as it
was when the module was imported fails. Its value shows where the global random generators stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

MODULE = """
import asyncio, atexit, concurrent.futures, ctypes, decimal, gc, locale, multiprocessing, os, random, resource, signal
import subprocess, sys, threading, time, warnings
import numpy as np

LEFT = {left!r}
KEPT = []


def surroundings():
    mask = os.umask(0); os.umask(mask)
    return [
        mask, os.getcwd(), sys.getrecursionlimit(), dict(os.environ), list(sys.path), locale.setlocale(locale.LC_ALL),
        [signal.getsignal(n) for n in signal.valid_signals() if n not in (signal.SIGKILL, signal.SIGSTOP)],
        sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), [os.fstat(n)[:3] for n in range(3)],
        resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_CPU), len(warnings.filters),
        decimal.getcontext().prec, np.geterr(), gc.isenabled(), sys.gettrace(), os.nice(0), sys.excepthook,
        signal.getitimer(signal.ITIMER_REAL), [type(s) for s in (sys.stdin, sys.stdout, sys.stderr)],
        [s.closed for s in (sys.stdin, sys.stdout, sys.stderr)], time.tzname,
    ]


class Halt(BaseException):
    pass


class Mute(BaseException):
    def __str__(self):
        raise KeyboardInterrupt


def thread(): threading.Thread(target=time.sleep, args=(3600,)).start()
def background_thread(): threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
def raw_fork(): ctypes.CDLL(None).fork()
def pool():
    KEPT.append(concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")))
    KEPT[-1].submit(int).result()
def thread_pool(): KEPT.append(concurrent.futures.ThreadPoolExecutor(1)); KEPT[-1].submit(time.sleep, 3600)
def process(): multiprocessing.get_context("fork").Process(target=time.sleep, args=(3600,)).start()
def program(): subprocess.Popen(["sleep", "3600"])
def detached(): subprocess.run(["sh", "-c", "setsid sleep 3600 > /dev/null 2>&1 &"])
def unclean(): subprocess.Popen(["sleep", "3600"], start_new_session=True); os._exit(3)
def stubborn(): subprocess.Popen(["sh", "-c", "trap '' TERM INT HUP; sleep 3600"])
def child_returns(): os.fork()
def child_raises():
    if os.fork() == 0: raise ValueError("in the child")
def child_exits():
    if os.fork() == 0: sys.exit(7)
def descriptors(): KEPT.extend(open(os.devnull) for _ in range(50))
def all_descriptors():
    while True: KEPT.append(open(os.devnull))
def memory(): KEPT.append(bytearray(60_000_000)); raise MemoryError
def no_threads(): KEPT.append("t"); raise RuntimeError("can't start new thread")
def umask(): os.umask(0o777)
def recursion_limit(): sys.setrecursionlimit(len(__import__("inspect").stack()) + 15)
def closed_stdout(): os.close(1)
def closed_all_three(): os.closerange(0, 3)
def closed_stream(): sys.stdout.close()
def replaced_stdout(): sys.stdout = open(sys.stdout.fileno(), "w", encoding="utf-8", buffering=1)
def other_file_as_stdout(): fd = os.open(os.devnull, os.O_WRONLY); os.dup2(fd, 1); os.close(fd)
def no_stdout(): sys.stdout = None
def closed_everything(): os.closerange(3, 4096)
def exits(): sys.exit("no quotes for this day")
def exits_hard(): os._exit(3)
def interrupts(): raise KeyboardInterrupt
def ends_generator(): raise GeneratorExit
def cancels(): raise asyncio.CancelledError
def halts(): raise Halt("halt")
def mute(): raise Mute
def killed(): os.kill(os.getpid(), signal.SIGKILL)
def ignores_signals():
    for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP): signal.signal(n, signal.SIG_IGN)
def masks_signals(): signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
def alarm(): signal.alarm(1)
def timer(): signal.signal(signal.SIGALRM, lambda *_: sys.exit(1)); signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
def folder(): os.chdir("/")
def environment(): os.environ["TZ"] = "Asia/Seoul"; time.tzset(); os.environ.pop("PATH", None)
def path(): sys.path.clear()
def file_limit(): resource.setrlimit(resource.RLIMIT_NOFILE, (32, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
def hard_limit(): resource.setrlimit(resource.RLIMIT_CPU, (3600, 3600))
def filters(): warnings.simplefilter("error")
def seeds(): random.seed(1); np.random.seed(1)
def float_errors(): np.seterr(all="raise")
def decimals(): decimal.getcontext().prec = 2
def collector(): gc.disable()
def trace(): sys.settrace(lambda *_: None)
def niceness(): os.nice(1)
def at_exit(): atexit.register(time.sleep, 3600)
def hook(): sys.excepthook = print


AT_IMPORT = surroundings()


def objective(params, trial):
    found = surroundings()
    if found != AT_IMPORT:
        raise RuntimeError(f"unclean: {{[pair for pair in zip(AT_IMPORT, found) if pair[0] != pair[1]]}}")
    value = params["x"] + random.random() + float(np.random.rand())
    time.sleep({pause_s})
    if (kind := LEFT.get(trial.iteration)) is not None:
        globals()[kind]()
    return {{"value": value}}
"""

KINDS = tuple(
    line.split()[1].partition("(")[0]
    for line in MODULE.partition("class Mute")[2].partition("AT_IMPORT")[0].splitlines()
    if line.startswith("def ")
)


def write_module(path: Path, left: Mapping[int, str], pause_s: float = 0.0) -> None:
    """An objective whose iterations leave behind what `left` says, after `pause_s` of work."""
    path.write_text(MODULE.format(left=dict(left), pause_s=pause_s))


def running_with(mark: str) -> list[str]:
    """The command lines of processes that have `mark` in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and mark.encode() in (folder / "environ").read_bytes():
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                if state != "Z":
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found
