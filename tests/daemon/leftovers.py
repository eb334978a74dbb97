"""An objective that leaves something behind in some iterations, as the text of a module.

The module has `LEFT`, which iteration leaves what. Every iteration says how it found its process: one that is not as it
was when the module was imported fails. Its value shows where the global random generators stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

MODULE = """
import asyncio, atexit, builtins, concurrent.futures, ctypes, datetime, decimal, faulthandler, gc, json, locale, math
import multiprocessing, os, random, resource, signal, socket, subprocess, sys, threading, time, warnings
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
        [id(f) for f in (
            builtins.open, builtins.len, time.time, time.monotonic_ns, json.dumps, json.loads, math.sqrt, os.write, os.fsync,
            datetime.datetime, random.random, np.mean, np.random.seed, sys.modules.get("json"), sys.modules.get("numpy"),
        )],
        sys.getprofile(), sys.unraisablehook, sys.argv, sys.get_int_max_str_digits(), sys.getswitchinterval(),
        socket.getdefaulttimeout(), multiprocessing.get_start_method(), gc.get_threshold(), os.sched_getaffinity(0),
        resource.getrlimit(resource.RLIMIT_FSIZE), os.getresuid(), asyncio.run(asyncio.sleep(0, "awaited")), loop_is_open(),
    ]


def loop_is_open():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return not asyncio.get_event_loop_policy()._local.__dict__.get("_set_called")


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
def execs(): os.execv("/bin/true", ["true"])
def double_fork():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0: os.execv("/bin/sleep", ["sleep", "3600"])
        os._exit(0)
def loop_in_thread():
    KEPT.append(asyncio.new_event_loop()); threading.Thread(target=KEPT[-1].run_forever, daemon=True).start()
def closed_loop():
    loop = asyncio.new_event_loop(); asyncio.set_event_loop(loop); loop.close()
def traceback_later(): faulthandler.dump_traceback_later(0.05, exit=True)
def ends_process_later(): threading.Timer(0.3, os._exit, (9,)).start()
def ends_process_behind():
    thread = threading.Timer(0.02, os._exit, (9,)); thread.daemon = True; thread.start()
def profile(): sys.setprofile(lambda *_: None)
def patched_open(): builtins.open = lambda *a, **k: 1 / 0
def patched_len(): builtins.len = lambda _: 3
def patched_time(): time.time = lambda: 0.0; time.monotonic_ns = lambda: 0; time.monotonic = lambda: 0.0; time.sleep = int
def patched_json(): json.dumps = json.loads = lambda *a, **k: "no"
def patched_os(): os.write = lambda *_: 0; os.fsync = lambda *_: None; os.getpid = lambda: 1
def patched_date(): datetime.datetime = type("Frozen", (datetime.datetime,), dict())
def patched_math(): math.sqrt = math.floor = lambda _: 0.0
def patched_numpy(): np.mean = np.asarray = lambda *_: 0.0
def patched_random(): random.random = lambda: 0.25
def no_modules():
    for name in ("json", "numpy", "struct"): sys.modules.pop(name, None)
def other_modules(): sys.modules["json"] = sys.modules["math"]
def frozen_garbage(): gc.freeze(); gc.set_threshold(0)
def loud(): print("x" * 8_000_000, flush=True); os.write(2, b"y" * 4_000_000)
def file_size_limit(): resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
def no_processes(): resource.setrlimit(resource.RLIMIT_NPROC, (0, resource.getrlimit(resource.RLIMIT_NPROC)[1]))
def start_method(): multiprocessing.set_start_method("spawn", force=True)
def one_processor(): os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
def digits(): sys.set_int_max_str_digits(700)
def arguments(): sys.argv.append("--more")
def slow_sockets(): socket.setdefaulttimeout(0.001)
def other_user(): os.seteuid(65534) if os.geteuid() == 0 else None
def overflows(): ctypes.string_at(0)
def aborts(): os.abort()
def endless_error(): raise ValueError("x" * 5_000_000)
def deep_error():
    def down(n): return down(n + 1)
    down(0)
def joblib_pool():
    try: import joblib
    except ImportError: return
    joblib.Parallel(n_jobs=2)(joblib.delayed(math.sqrt)(i) for i in range(4))
def blas_threads(): KEPT.append(float((np.ones((400, 400)) @ np.ones((400, 400))).sum()))


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
