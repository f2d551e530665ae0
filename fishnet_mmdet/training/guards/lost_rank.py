"""Ends all ranks of a job within seconds after one of them has died.

A collective waits for a dead rank until its timeout. A timeout short enough to help would also end a job whose rank 0
computes a long evaluation. Here every rank keeps one TCP connection to rank 0, and the operating system does the
watching. When a process ends, for any reason, its system closes the connection. When a machine is lost, the keepalive
probes of the others stay unanswered. A process that is busy for hours keeps its connection, and only probes are sent.
"""

import atexit
import os
import secrets
import selectors
import socket
import sys
import threading
import time
import weakref
from contextlib import suppress

import torch
from mmengine import dist
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from fishnet_mmdet.base.errors import ConfigError

LOST_RANK = 69
"""Exit status of a process that ends because another one has ended: `EX_UNAVAILABLE` of sysexits.h."""

KEEPALIVE = {'TCP_KEEPIDLE': 10, 'TCP_KEEPINTVL': 5, 'TCP_KEEPCNT': 4}
"""Socket options, in seconds and probes: the loss of a machine is noticed after 30 s."""

TOKEN_BYTES = 16
"""Length of the job's secret, which a rank sends before its number."""

HELLO_SECONDS = 30
"""How long a rank waits for a connection, and rank 0 for the first bytes."""

JOIN_SECONDS = 1
"""How long the thread gets to end. A thread that has just noticed a lost rank may be in its grace period."""

GOODBYE = b'done'
"""Sent by a process that ends as it should."""

_watches: weakref.WeakSet['RankWatch'] = weakref.WeakSet()
"""The watches of this process. A child that kept a connection open would hide that its parent has died."""

_opening = threading.RLock()
"""Held while a socket is opened and listed, and while a process is forked: the child finds every socket in the list."""


@HOOKS.register_module()
class LostRankGuard(Hook):
    """Ends every process of a job soon after one of them has died or failed, and names the one.

    Works with any launcher and backend. Does nothing in a run of one process. It costs one idle thread and one idle
    connection per rank, from the start of a run to its end.

    Args:
        grace: Seconds that a process gets to end by itself, with its own message, before it is ended.

    Raises:
        ConfigError: `grace` is negative.
    """

    def __init__(self, grace: float = 10) -> None:
        if grace < 0:
            raise ConfigError(f'LostRankGuard: grace = {grace!r} must be at least 0 seconds')
        self.grace = grace
        self._watch: RankWatch | None = None

    def before_run(self, runner: Runner) -> None:
        """Starts the watch. Where a firewall forbids it, logs an error, and the run continues without."""
        # A run before may have ended in an exception.
        self.after_run(runner)
        if dist.get_world_size() == 1:
            return
        try:
            self._watch = RankWatch(self.grace)
        except OSError as error:
            runner.logger.error(
                f'rank {dist.get_rank()} runs without LostRankGuard, as it cannot connect to rank 0 ({error}): a dead '
                'rank is noticed only when a collective times out (env_cfg.dist_cfg.timeout)'
            )

    def after_run(self, runner: Runner) -> None:
        """Ends the watch: from now on this process may end."""
        if self._watch:
            self._watch.leave()
            self._watch = None


class RankWatch:
    """The connections of one process to the others, from its construction to `leave`.

    All ranks construct theirs together. Rank 0 listens. The others get its port and the job's secret by a collective.

    Args:
        grace: As in `LostRankGuard`.

    Raises:
        OSError: Rank 0 cannot listen, or cannot be reached.
    """

    def __init__(self, grace: float) -> None:
        self.rank, self.grace = dist.get_rank(), grace
        self._sockets: list[socket.socket] = []
        self._left = False
        self._selector: selectors.BaseSelector | None = None
        _watches.add(self)
        with _opening:
            listener = _listen() if self.rank == 0 else None
            if listener:
                # A rank may be gone when it is accepted; waiting for the next one would hold `_opening`.
                listener.setblocking(False)
                self._sockets.append(listener)
        port, token = _announce(listener)
        if listener:
            watch, arguments = self._watch_ranks, (listener, token)
        else:
            watch, arguments = self._watch_rank_zero, (self._connect(port, token),)
        # Runs after an exception too, and before torch cleans up, which may hang.
        atexit.register(self._drop)
        self._thread = threading.Thread(target=watch, args=arguments, name='rank_watch', daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Ends the watch, and informs the others that this process may end."""
        for end in self._sockets:
            # Fails for the listener, and for a peer that has ended.
            with suppress(OSError):
                end.sendall(GOODBYE)
        self._drop()
        atexit.unregister(self._drop)

    def _drop(self) -> None:
        self._left = True
        for end in self._sockets:
            with suppress(OSError):
                # Wakes the thread; `close` would not.
                end.shutdown(socket.SHUT_RDWR)
        # Closed only after this: a thread that waits for a closed socket would wait for ever.
        self._thread.join(JOIN_SECONDS)
        self._close_all()

    def _close_all(self) -> None:
        for end in self._sockets:
            end.close()
        self._sockets.clear()

    def close_in_child(self) -> None:
        """Closes what a forked process has inherited; the connections of its parent stay open."""
        self._close_all()
        if self._selector is not None:
            self._selector.close()

    def _connect(self, port: int, token: bytes) -> socket.socket:
        with _opening:
            zero = socket.create_connection((os.environ['MASTER_ADDR'], port), timeout=HELLO_SECONDS)
            self._sockets.append(zero)
        zero.settimeout(None)
        zero.sendall(token + self.rank.to_bytes(4, 'big'))
        _probe(zero)
        return zero

    def _watch_rank_zero(self, zero: socket.socket) -> None:
        received = _receive_all(zero)
        if received != GOODBYE:
            self._end(received.decode(errors='replace') or f'rank 0 on {os.environ["MASTER_ADDR"]} has ended')

    def _watch_ranks(self, listener: socket.socket, token: bytes) -> None:
        with _opening:
            self._selector = selectors.DefaultSelector()
        with self._selector as ready:
            ready.register(listener, selectors.EVENT_READ)
            while not self._left:
                for key, _ in ready.select():
                    if key.fileobj is listener:
                        self._accept(listener, token, ready)
                        continue
                    ready.unregister(key.fileobj)
                    if _receive_all(key.fileobj) != GOODBYE:
                        self._end(f'rank {key.data[0]} on {key.data[1]} has ended')

    def _accept(self, listener: socket.socket, token: bytes, ready: selectors.BaseSelector) -> None:
        """Accepts the connection of a rank; one without the secret is closed."""
        # Fails if `leave` was called, or if the other end has closed.
        with suppress(OSError):
            with _opening:
                end, address = listener.accept()
                self._sockets.append(end)
            hello = b''
            with suppress(OSError):
                end.settimeout(HELLO_SECONDS)
                hello = end.recv(TOKEN_BYTES + 4)
                end.settimeout(None)
            if not secrets.compare_digest(hello[:TOKEN_BYTES], token):
                with _opening:
                    self._sockets.remove(end)
                    end.close()
                return
            _probe(end)
            rank, host = int.from_bytes(hello[TOKEN_BYTES:], 'big'), address[0].removeprefix('::ffff:')
            ready.register(end, selectors.EVENT_READ, (rank, host))

    def _end(self, reason: str) -> None:
        """Informs the others and ends this process, unless it ends by itself within the grace period."""
        if self._left:
            return
        message = f'error: {reason} before the run was over; rank {self.rank} ends as well'
        print(message, file=sys.stderr, flush=True)
        for end in self._sockets:
            with suppress(OSError):
                end.sendall(reason.encode())
                end.shutdown(socket.SHUT_WR)
        time.sleep(self.grace)
        # The main thread may wait in a collective for ever.
        os._exit(LOST_RANK)


def _probe(end: socket.socket) -> None:
    """Has the operating system probe a connection on which nothing is sent."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        # Not every system has them.
        if hasattr(socket, option):
            end.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _close_in_child() -> None:
    for watch in _watches:
        watch.close_in_child()
    _opening.release()


# Windows does not fork.
if hasattr(os, 'register_at_fork'):
    os.register_at_fork(before=_opening.acquire, after_in_parent=_opening.release, after_in_child=_close_in_child)


def _listen() -> socket.socket | None:
    """Returns a listening socket at a free port; None where none is allowed."""
    with suppress(OSError):
        if socket.has_dualstack_ipv6():
            return socket.create_server(('', 0), family=socket.AF_INET6, dualstack_ipv6=True)
    with suppress(OSError):
        return socket.create_server(('', 0))
    return None


def _announce(listener: socket.socket | None) -> tuple[int, bytes]:
    """Sends rank 0's port and a secret that it draws to every rank.

    Raises:
        OSError: Rank 0 has no port, or its address is not known.
    """
    numbers = [listener.getsockname()[1], *secrets.token_bytes(TOKEN_BYTES)] if listener else [0] * (1 + TOKEN_BYTES)
    shared = torch.tensor(numbers)
    dist.broadcast(shared)
    port, *token = shared.tolist()
    if not port or 'MASTER_ADDR' not in os.environ:
        raise OSError('rank 0 may not listen' if 'MASTER_ADDR' in os.environ else 'MASTER_ADDR is not set')
    return port, bytes(token)


def _receive_all(end: socket.socket) -> bytes:
    """Returns all that the other end sends until it closes: GOODBYE, a reason, or nothing."""
    received = b''
    # Fails on a reset, or on unanswered probes.
    with suppress(OSError):
        while len(received) < 1000 and (part := end.recv(1000)):
            received += part
    return received
