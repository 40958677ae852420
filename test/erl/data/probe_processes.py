"""Processes, threads and signals inside a worker."""

import concurrent.futures
import multiprocessing
import os
import signal
import subprocess
import sys
import threading


def square(n):
    return n * n


def child_of_pool(_):
    return os.getpid()


def pool(method, numbers):
    with multiprocessing.get_context(method).Pool(2) as workers:
        return workers.map(square, numbers)


def queue_between(method):
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=queue.put, args=("from the child",))
    process.start()
    answer = queue.get(timeout=60)
    process.join()
    return [answer, process.exitcode]


def executor(method, numbers):
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as workers:
        return list(workers.map(square, numbers))


def run_child(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return [done.returncode, done.stdout, done.stderr]


def child_status(signal_number):
    return subprocess.run(["sh", "-c", f"kill -{signal_number} $$"]).returncode


def threads(count):
    results = []
    workers = [threading.Thread(target=lambda i=i: results.append(i)) for i in range(count)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sorted(results)


background = {"stop": threading.Event(), "turns": 0}


def start_background():
    def work():
        while not background["stop"].wait(0.001):
            background["turns"] += 1

    background["thread"] = threading.Thread(target=work, daemon=True)
    background["thread"].start()


def turns():
    return background["turns"]


def stop_background():
    background["stop"].set()
    background["thread"].join()
    return background["turns"]


def handle_own_signal():
    seen = []
    old = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, old)
    return [int(number) for number in seen]


def alarm():
    seen = []
    old = signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        signal.pause()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    return len(seen) > 0


def in_thread(name):
    """Signal handlers are for the main thread: does a call run there?"""
    return threading.current_thread() is threading.main_thread()


def fork_and_return():
    """The child must not answer; the parent tells how it ended."""
    pid = os.fork()
    if pid == 0:
        return "the child"
    _, status = os.waitpid(pid, 0)
    return ["the parent", os.waitstatus_to_exitcode(status)]


def identify():
    return {"pid": os.getpid(), "executable": sys.executable, "prefix": sys.prefix, "version": "%d.%d" % sys.version_info[:2], "path": sys.path}
