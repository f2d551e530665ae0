"""A line between the ranks of a job, by which all learn within seconds that one of them is gone.

A collective waits for a dead rank until its timeout, and a timeout short enough to help would take the long evaluation
on rank 0 for a death. Here the kernels do the watching: every rank keeps one TCP connection to rank 0. A process that
ends, however it ends, has its connection closed by its kernel; a machine that is gone leaves the keepalive probes of
the others unanswered. A process that is merely busy for hours loses nothing, and nothing but the probes is ever sent.
"""

import atexit
import os
import secrets
import selectors
import socket
import sys
import threading
import time
from contextlib import suppress

import torch
from mmengine import dist
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

LOST_RANK = 69
"""Exit status of a process that ends because another one has ended: `EX_UNAVAILABLE` of sysexits.h."""

KEEPALIVE = {'TCP_KEEPIDLE': 10, 'TCP_KEEPINTVL': 5, 'TCP_KEEPCNT': 4}
"""Seconds and probes: a machine that is gone is noticed after 30 s."""

TOKEN_BYTES = 16
"""Of the job's secret, which a rank says first, before its number."""

HELLO_SECONDS = 30

JOIN_SECONDS = 1
"""For the thread to see that the line is left; one that has just learnt of a death may be waiting out its grace."""

GOODBYE = b'done'
"""What a process says that ends as it should."""


@HOOKS.register_module()
class LostRankGuard(Hook):
    """Ends every process of a job soon after one of them has died or failed, with a line that says which.

    Works with any launcher and backend, and does nothing in a run of one process. From the start of a run to its end it
    costs one idle thread and one idle connection a rank.

    Args:
        grace: Seconds that a process gets to end by itself, with a message of its own, before it is ended.

    Raises:
        ValueError: `grace` is negative.
    """

    def __init__(self, grace: float = 10) -> None:
        if grace < 0:
            raise ValueError(f'LostRankGuard: grace = {grace!r} must be at least 0 seconds')
        self.grace = grace
        self._line: Lifeline | None = None

    def before_run(self, runner: Runner) -> None:
        """Joins the line; where a firewall forbids it, says so and lets the run go on without."""
        self.after_run(runner)  # of a run before that ended in an exception
        if dist.get_world_size() == 1:
            return
        try:
            self._line = Lifeline(self.grace)
        except OSError as error:
            runner.logger.error(
                f'rank {dist.get_rank()} runs without LostRankGuard, as it cannot connect to rank 0 ({error}): a dead '
                'rank is noticed only when a collective times out (env_cfg.dist_cfg.timeout)'
            )

    def after_run(self, runner: Runner) -> None:
        """Leaves the line: from now on this process may end."""
        if self._line:
            self._line.leave()
            self._line = None


class Lifeline:
    """One process's end of the line, from its making to `leave`.

    All ranks make theirs together: rank 0 listens, and the others get its port and the job's secret by a collective.

    Args:
        grace: As in `LostRankGuard`.

    Raises:
        OSError: Rank 0 cannot listen, or cannot be reached.
    """

    def __init__(self, grace: float) -> None:
        self.rank, self.grace = dist.get_rank(), grace
        self._sockets: list[socket.socket] = []
        self._left = False
        listener = _listen() if self.rank == 0 else None
        port, token = _announce(listener)
        if listener:
            self._sockets.append(listener)
            watch, arguments = self._watch_ranks, (listener, token)
        else:
            watch, arguments = self._watch_hub, (self._connect(port, token),)
        # A forked loader worker would hold the connection open after its parent's death.
        os.register_at_fork(after_in_child=self._forget)
        # After an exception too, and before torch cleans up, which may hang.
        atexit.register(self._drop)
        self._watch = threading.Thread(target=watch, args=arguments, name='lifeline', daemon=True)
        self._watch.start()

    def leave(self) -> None:
        """Ends the watch, and tells the others that this process may end."""
        for end in self._sockets:
            with suppress(OSError):  # the listener, or a peer that has ended already
                end.sendall(GOODBYE)
        self._drop()
        atexit.unregister(self._drop)

    def _drop(self) -> None:
        self._left = True
        for end in self._sockets:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # wakes the thread, which `close` would not
        # Closed only now, or a thread that was about to wait would wait for nothing, for ever.
        self._watch.join(JOIN_SECONDS)
        self._forget()

    def _forget(self) -> None:
        for end in self._sockets:
            end.close()
        self._sockets.clear()

    def _connect(self, port: int, token: bytes) -> socket.socket:
        hub = socket.create_connection((os.environ['MASTER_ADDR'], port), timeout=HELLO_SECONDS)
        hub.settimeout(None)
        hub.sendall(token + self.rank.to_bytes(4, 'big'))
        self._keep(hub)
        return hub

    def _keep(self, end: socket.socket) -> None:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE.items():
            if hasattr(socket, option):  # not on every system
                end.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
        self._sockets.append(end)

    def _watch_hub(self, hub: socket.socket) -> None:
        said = _listen_to(hub)
        if said != GOODBYE:
            self._end(said.decode(errors='replace') or f'rank 0 on {os.environ["MASTER_ADDR"]} has ended')

    def _watch_ranks(self, listener: socket.socket, token: bytes) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(listener, selectors.EVENT_READ)
            while not self._left:
                for key, _ in ready.select():
                    if key.fileobj is listener:
                        self._welcome(listener, token, ready)
                        continue
                    ready.unregister(key.fileobj)
                    if _listen_to(key.fileobj) != GOODBYE:
                        self._end(f'rank {key.data[0]} on {key.data[1]} has ended')

    def _welcome(self, listener: socket.socket, token: bytes, ready: selectors.BaseSelector) -> None:
        """Takes a rank into care; whoever does not know the secret is sent away."""
        with suppress(OSError):  # `leave` was called, or the caller has gone again
            end, address = listener.accept()
            end.settimeout(HELLO_SECONDS)
            hello = end.recv(TOKEN_BYTES + 4)
            end.settimeout(None)
            if not secrets.compare_digest(hello[:TOKEN_BYTES], token):
                end.close()
                return
            self._keep(end)
            ready.register(
                end,
                selectors.EVENT_READ,
                (int.from_bytes(hello[TOKEN_BYTES:], 'big'), address[0].removeprefix('::ffff:')),
            )

    def _end(self, reason: str) -> None:
        """Passes the news on and ends this process, unless it ends by itself within the grace."""
        if self._left:
            return
        print(
            f'error: {reason} before the run was over; rank {self.rank} ends as well',
            file=sys.stderr,
            flush=True,
        )
        for end in self._sockets:
            with suppress(OSError):
                end.sendall(reason.encode())
                end.shutdown(socket.SHUT_WR)
        time.sleep(self.grace)
        os._exit(LOST_RANK)  # the main thread may wait in a collective for ever


def _listen() -> socket.socket | None:
    """A listening socket at a port that is free, where there may be one."""
    with suppress(OSError):
        if socket.has_dualstack_ipv6():
            return socket.create_server(('', 0), family=socket.AF_INET6, dualstack_ipv6=True)
    with suppress(OSError):
        return socket.create_server(('', 0))
    return None


def _announce(listener: socket.socket | None) -> tuple[int, bytes]:
    """Rank 0's port and a secret of its making, on every rank.

    Raises:
        OSError: Rank 0 has no port, or nobody knows its address.
    """
    news = [listener.getsockname()[1], *secrets.token_bytes(TOKEN_BYTES)] if listener else [0] * (1 + TOKEN_BYTES)
    shared = torch.tensor(news)
    dist.broadcast(shared)
    port, *token = shared.tolist()
    if not port or 'MASTER_ADDR' not in os.environ:
        raise OSError('rank 0 may not listen' if 'MASTER_ADDR' in os.environ else 'MASTER_ADDR is not set')
    return port, bytes(token)


def _listen_to(end: socket.socket) -> bytes:
    """All that the other end says until it closes: GOODBYE, a reason, or nothing at all."""
    said = b''
    with suppress(OSError):  # a reset, or probes that nobody answers
        while len(said) < 1000 and (part := end.recv(1000)):
            said += part
    return said
