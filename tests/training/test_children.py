"""What a process inherits that is forked while a run goes on: no handler, no socket, no mask of signals."""

import multiprocessing
import os
import signal
import socket
import time

import pytest
import torch

from fishnet_mmdet.training import own_handlers
from fishnet_mmdet.training.guards.lost_rank import RankWatch
from fishnet_mmdet.training.stopping import SIGNALS, StopRequest, nothing_to_save_yet
from fishnet_mmdet.training.workers import isolate_worker_signals


def in_child(ask):
    """Forks, calls a function in the child, and returns what it returned, as text."""
    ours, theirs = os.pipe()
    if not (pid := os.fork()):
        answer = ascii(ask()).encode()
        os.write(theirs, answer)
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as answers:
        text = answers.read()
    os.waitpid(pid, 0)
    return text


def handlers():
    return [signal.getsignal(number) for number in SIGNALS]


@pytest.fixture(autouse=True)
def no_handlers_of_other_tests(monkeypatch, plain_signals):
    """A test that trains in this process may have left a request that listens."""
    monkeypatch.setattr(own_handlers, '_installed', [])


@pytest.fixture
def request_to_stop():
    request = StopRequest()
    request.listen()
    yield request
    request.restore_handlers()


class TestHandlers:
    def test_child_has_what_was_there_before(self):
        before = handlers()
        with nothing_to_save_yet():
            request = StopRequest()
            request.listen()
            ours = handlers()
            assert in_child(lambda: handlers() == before) == 'True'
            assert handlers() == ours != before
            # Twice, as in two trainings by one runner.
            request.listen()
        assert handlers() == before

    def test_another_handler_stays(self, request_to_stop):
        own = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            assert in_child(lambda: signal.getsignal(signal.SIGINT) is signal.SIG_IGN) == 'True'
        finally:
            signal.signal(signal.SIGINT, own)

    def test_child_dies_of_sigterm(self, request_to_stop):
        for _ in range(20):
            if not (pid := os.fork()):
                time.sleep(60)
                os._exit(0)
            os.kill(pid, signal.SIGTERM)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM

    def test_no_signal_is_blocked(self, request_to_stop):
        assert in_child(lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [])) == 'set()'
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])

    def test_pools_end(self, request_to_stop):
        """The case: a metric that computes in a pool. Its workers are forked and terminated at once."""
        if not (pid := os.fork()):
            # The pools run in a process that may hang; its own request is one that listens, as a trainer's.
            StopRequest().listen()
            for _ in range(5):
                with multiprocessing.get_context('fork').Pool(2) as pool:
                    assert pool.map(abs, range(-4, 0)) == [4, 3, 2, 1]
            os._exit(0)
        deadline = time.monotonic() + 60
        while (ended := os.waitpid(pid, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.05)
        if ended == (0, 0):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        assert ended == (pid, 0)

    def test_signal_while_forking_is_not_lost(self):
        """The trainer notes a request that arrives while it forks."""
        request = StopRequest()
        request.listen()
        try:
            own_handlers._before_fork()
            try:
                # Another thread of the process may take it at once; this one takes it after the fork.
                os.kill(os.getpid(), signal.SIGTERM)
            finally:
                own_handlers._after_fork()
            # A thread that the system has not woken yet takes it a moment later.
            deadline = time.monotonic() + 5
            while not request.on_any_rank() and time.monotonic() < deadline:
                time.sleep(0.01)
            assert request.on_any_rank()
        finally:
            request.restore_handlers()


def test_children_of_a_loader_worker_obey():
    def worker():
        isolate_worker_signals(0)
        return in_child(lambda: signal.pthread_sigmask(signal.SIG_BLOCK, []))

    assert in_child(worker) == repr('set()')


def test_no_worker_outlives_a_killed_trainer():
    """Its last batch is larger than a pipe holds, and nobody reads it any more."""
    ours, theirs = os.pipe()
    if not (pid := os.fork()):
        batches = torch.utils.data.DataLoader(
            LargeSamples(),
            num_workers=1,
            worker_init_fn=isolate_worker_signals,
            collate_fn=list,
            persistent_workers=True,
        )
        number = next(iter(batches))[0][0]
        os.write(theirs, str(number).encode())
        time.sleep(60)
        os._exit(0)
    worker = int(os.read(ours, 20))
    # Until the worker waits to hand over its next batch.
    time.sleep(2)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    deadline = time.monotonic() + 20
    while (is_there := os.path.exists(f'/proc/{worker}')) and time.monotonic() < deadline:
        time.sleep(0.1)
    if is_there:
        os.kill(worker, signal.SIGKILL)
    assert not is_there


class LargeSamples(torch.utils.data.Dataset):
    """Each sample is the worker's process number and a megabyte, which goes through the pipe."""

    def __len__(self):
        return 100

    def __getitem__(self, index):
        return os.getpid(), bytes(2**20)


def test_child_has_no_socket(monkeypatch):
    """Of a rank 0 whose listener is open, and of a connection that was accepted and is not yet known to be a rank's."""
    monkeypatch.setattr('fishnet_mmdet.training.guards.lost_rank._announce', lambda listener: (1, b'0' * 16))
    watch = RankWatch(grace=0)
    try:
        (listener,) = watch._sockets
        with socket.create_connection(('localhost', listener.getsockname()[1])):
            deadline = time.monotonic() + 10
            while len(watch._sockets) < 2 and time.monotonic() < deadline:
                time.sleep(0.01)
            numbers = [end.fileno() for end in watch._sockets] + [watch._selector.fileno()]
            assert len(numbers) == 3 and os.path.exists(f'/proc/self/fd/{numbers[2]}')
            assert in_child(lambda: [os.path.exists(f'/proc/self/fd/{n}') for n in numbers]) == '[False, False, False]'
            assert all(os.path.exists(f'/proc/self/fd/{number}') for number in numbers)
    finally:
        watch._drop()
