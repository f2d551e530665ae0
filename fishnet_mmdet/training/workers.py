"""Loader workers and signals."""

import os
import signal
import threading

from mmengine.registry import FUNCTIONS

POLL_SECONDS = 1.0
"""Time between two looks at whether the trainer is alive."""


@FUNCTIONS.register_module(name=['isolate_worker_signals', 'in_a_group_of_its_own'])
def isolate_worker_signals(worker_id: int) -> None:
    """Protects a loader worker from signals that are meant for the trainer; use it as `worker_init_fn`.

    The worker leaves the trainer's process group and obeys SIGTERM only if the trainer sent it. Ctrl-C, torchrun and
    Slurm signal whole process groups; systemd and other schedulers signal every process of a job. A worker that died
    of such a signal would end the trainer before it has saved a checkpoint. The trainer ends its workers itself. If the
    trainer is killed, its workers notice within a second and end. (torch's own check ends the loop of a worker, which
    then waits for ever to hand over its last batch, if that is larger than a pipe holds.)

    `in_a_group_of_its_own` is the former registered name; dumped configs may still hold it.

    Args:
        worker_id: Index of the worker, from 0; not used.
    """
    # Windows has no process groups.
    if hasattr(os, 'setpgid'):
        os.setpgid(0, 0)
    # Windows and macOS have no sigtimedwait.
    if not hasattr(signal, 'sigtimedwait'):
        return
    trainer = os.getppid()
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    # What a transform forks must obey SIGTERM.
    os.register_at_fork(after_in_child=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, former))

    def exit_with_the_trainer() -> None:
        while os.getppid() == trainer:
            received = signal.sigtimedwait({signal.SIGTERM}, POLL_SECONDS)
            if received and received.si_pid == trainer:
                break
        os._exit(0)

    threading.Thread(target=exit_with_the_trainer, daemon=True).start()
