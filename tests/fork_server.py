"""Runs jobs in real processes without paying for their imports each time.

`python tests/fork_server.py` imports torch, MMEngine, MMDetection and this package once, then forks a process for every
job that it reads from its standard input. A job has its own process group, environment, folder and output files. It can
be killed, and be one rank of several.
"""

import atexit
import json
import os
import random
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

TESTS = Path(__file__).resolve().parent


class ForkServer:
    """Starts jobs from a process that has imported everything."""

    def __init__(self):
        environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': f'{TESTS}:{TESTS.parent}'}
        command = [sys.executable, __file__]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.folder = tempfile.TemporaryDirectory()
        self.count = 0
        self.last = []

    def _ask(self, **request):
        print(json.dumps(request), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    # Scripts

    def start_script(self, script, *arguments, cwd=None, env=None, output=None, errors=None):
        """Starts a script as `python SCRIPT ARGUMENTS` would; returns its process id.

        Args:
            env: Variables over those of this process.
            output: A file for its standard output, and for its standard error where `errors` is None.
            errors: A file for its standard error.
        """
        environment = {'PYTHONPATH': str(TESTS.parent), **os.environ, 'OMP_NUM_THREADS': '1', **(env or {})}
        return self._ask(
            do='script',
            argv=[str(script), *map(str, arguments)],
            cwd=str(cwd or TESTS.parent),
            env=environment,
            output=str(output),
            errors=str(errors or output),
        )

    def run_script(self, script, *arguments, cwd=None, env=None, timeout=300):
        """Runs a script to its end; returns what `subprocess.run` would."""
        self.count += 1
        files = [Path(self.folder.name) / f'{self.count}.{name}' for name in ('out', 'err')]
        pid = self.start_script(script, *arguments, cwd=cwd, env=env, output=files[0], errors=files[1])
        (status,) = self.wait_for([pid], timeout)
        texts = [file.read_text(errors='replace') for file in files]
        return subprocess.CompletedProcess([str(script), *map(str, arguments)], status, *texts)

    # Small trainings, see tiny_run.py

    def start(self, job):
        """Starts a training of `tiny_run`, in one process for each of its ranks; returns the process ids."""
        self.last = self._ask(do='tiny', job=job)
        return self.last

    def wait(self):
        """Returns the exit statuses of the processes of the last training."""
        return self.wait_for(self.last, 300)

    def run(self, **job):
        """Runs a training to its end; returns the exit statuses of its processes."""
        self.start(job)
        return self.wait()

    def wait_for(self, pids, timeout=300):
        """Returns the exit statuses of processes; minus the signal for those that one ended."""
        deadline = time.monotonic() + timeout
        while None in (statuses := self._ask(do='poll', pids=pids)):
            if time.monotonic() > deadline:
                for pid in pids:
                    os.killpg(pid, signal.SIGKILL)
                raise TimeoutError(
                    f'of processes {pids}, with statuses {statuses}, some did not end within {timeout} s'
                )
            time.sleep(0.02)
        return statuses

    def close(self):
        # Its jobs have ended, and its own end would take seconds.
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        self.folder.cleanup()


def free_port():
    """A port that nobody listens on, below those that the system gives to connections: none takes it meanwhile."""
    while True:
        port = random.SystemRandom().randrange(20000, 32000)
        try:
            with socket.create_server(('127.0.0.1', port)):
                return port
        except OSError:
            continue


def serve():
    # Packages may print when they are imported, as OneDL's do.
    replies = os.fdopen(os.dup(1), 'w')
    os.dup2(2, 1)
    import mmdet.utils
    import model_cards
    import tiny_run
    import torch._dynamo
    import torchvision
    from mmengine.config import Config
    from mmengine.utils.dl_utils import collect_env

    import fishnet_mmdet
    import fishnet_mmdet.training.launch

    for imported in (torch._dynamo, torchvision, fishnet_mmdet):
        assert imported
    mmdet.utils.register_all_modules(init_default_scope=False)
    collect_env()
    model_cards.read_each_once()
    Config.fromfile(TESTS.parent / 'configs' / 'mask_rcnn_fishnet_demo.py')
    tiny_run.define()
    statuses = {}
    for line in sys.stdin:
        request = json.loads(line)
        if request['do'] == 'poll':
            reply = [poll(pid, statuses) for pid in request['pids']]
        elif request['do'] == 'script':
            reply = fork(lambda request=request: run_script(request))
        else:
            reply = start_ranks(request['job'], tiny_run)
        print(json.dumps(reply), file=replies, flush=True)


def poll(pid, statuses):
    if statuses.get(pid) is None:
        ended, status = os.waitpid(pid, os.WNOHANG)
        statuses[pid] = os.waitstatus_to_exitcode(status) if ended else None
    return statuses[pid]


def fork(work):
    """Calls `work` in a child with its own process group, and ends it with the status that `work` returns."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        # As launchers do: a signal can go to a process and its workers at once.
        os.setpgid(0, 0)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        status = work()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def redirect(output, errors):
    for number, path in ((1, output), (2, errors)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), number)


def run_script(request):
    redirect(request['output'], request['errors'])
    os.environ.clear()
    os.environ.update(request['env'])
    os.chdir(request['cwd'])
    sys.argv = request['argv']
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    status = guarded(lambda: runpy.run_path(sys.argv[0], run_name='__main__'))
    sys.stdout.flush()
    atexit._run_exitfuncs()
    return status


def guarded(work):
    """Returns the exit status that Python would end with."""
    try:
        work()
    except SystemExit as leaving:
        if leaving.code is None or isinstance(leaving.code, int):
            return leaving.code or 0
        print(leaving.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def start_ranks(job, tiny_run):
    ranks, port = job.pop('ranks', 1), free_port()

    def train(rank):
        log = Path(job['work_dir']).with_suffix(f'.{rank}.log')
        redirect(log, log)
        if ranks > 1:
            place = dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks))
            os.environ.update(place, MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
        return guarded(lambda: tiny_run.train(job, ranks))

    return [fork(lambda rank=rank: train(rank)) for rank in range(ranks)]


if __name__ == '__main__':
    serve()
