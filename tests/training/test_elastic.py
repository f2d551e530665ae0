"""Two nodes, each with an agent of torchrun, on one machine; one of them dies and comes back.

For docs/large-jobs.md, which shows the whole command.
"""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from conftest import CONFIGS, REPO, demo_options
from fork_server import free_port
from run_logs import assert_same

pytestmark = pytest.mark.long
TRAIN = [REPO / 'tools' / 'train.py', CONFIGS / 'mask_rcnn_fishnet_demo.py', '--launcher', 'pytorch', '--resume']

SETTINGS = {'GLOO_SOCKET_IFNAME': 'lo', 'TORCH_DISABLE_SHARE_RDZV_TCP_STORE': '1'}
"""Without the second, a new agent waits for an address that the old one sends only in the first round (torch 2.11)."""


class Node:
    """A node of a job: an agent of torchrun with one training process, as `torchrun` is called on each machine.

    Args:
        number: 0 is the node with the rendezvous.
        port: Where the rendezvous is.
        folder: The work dir, on a disk that the nodes share.
        options: Settings of the config.
    """

    def __init__(self, number, port, folder, options):
        flags = ['--nnodes=2', '--nproc-per-node=1', '--max-restarts=3', '--rdzv-backend=c10d', '--rdzv-id=fish']
        flags += [
            f'--rdzv-endpoint=127.0.0.1:{port}',
            f'--rdzv-conf=is_host={int(number == 0)}',
            '--local-addr=127.0.0.1',
        ]
        command = [sys.executable, '-m', 'torch.distributed.run', *flags, *TRAIN]
        command += ['--work-dir', folder, '--cfg-options', *options]
        environment = {**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(REPO), **SETTINGS}
        self.log = folder.with_name(f'{folder.name}.node{number}.log')
        with self.log.open('a') as log:
            self.agent = subprocess.Popen(
                list(map(str, command)),
                env=environment,
                stdout=log,
                stderr=log,
                cwd=folder.parent,
                start_new_session=True,
            )

    def lose(self):
        """What the loss of a machine does: all of its processes are gone at once."""
        for pid in [self.agent.pid, *descendants(self.agent.pid)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.agent.wait()


def descendants(pid):
    children = []
    with suppress(FileNotFoundError):
        for task in Path(f'/proc/{pid}/task').iterdir():
            children += map(int, (task / 'children').read_text().split())
    return [*children, *(pid for child in children for pid in descendants(child))]


@pytest.fixture
def start(demo_data):
    nodes = []

    def start(number, port, folder):
        options = [*demo_options(demo_data), 'train_dataloader.batch_size=1', 'train_cfg.max_epochs=4']
        nodes.append(Node(number, port, folder, [*options, 'train_cfg.val_interval=4']))
        return nodes[-1]

    yield start
    for node in nodes:
        node.lose()


def ends_well(nodes, timeout=900):
    for node in nodes:
        assert node.agent.wait(timeout) == 0, node.log.read_text()[-3000:]
    return torch.load(Path(str(nodes[0].log).replace('.node0.log', '')) / 'epoch_4.pth', weights_only=True)


def test_a_node_that_dies_and_comes_back(start, tmp_path):
    """Torchrun starts the job again from the last checkpoint; the result is that of an undisturbed one, to the bit."""
    port, folder = free_port(), tmp_path / 'disturbed'
    first, second = start(0, port, folder), start(1, port, folder)
    wait_for(folder / 'epoch_2.pth', first)
    second.lose()
    time.sleep(1)
    assert first.agent.poll() is None  # the agent of the other node waits for it
    again = start(1, port, folder)
    disturbed = ends_well([first, again])
    # The rendezvous decides on which node rank 0 is.
    text = first.log.read_text() + again.log.read_text()
    assert re.search(r'Resuming from .*epoch_[23]\.pth', text), text[-3000:]
    assert 'Nothing to resume' in text and not (folder / 'epoch_1.pth').exists()

    port, folder = free_port(), tmp_path / 'undisturbed'
    undisturbed = ends_well([start(0, port, folder), start(1, port, folder)])
    assert undisturbed['meta']['iter'] == disturbed['meta']['iter'] == 16
    for part in ('state_dict', 'optimizer', 'param_schedulers', 'loop'):
        assert_same(disturbed[part], undisturbed[part])
    losses = [end['message_hub']['log_scalars']['train/loss']['values'] for end in (disturbed, undisturbed)]
    assert losses[0].numel() == 16 and torch.equal(*losses)


def wait_for(path, node, timeout=600):
    deadline = time.monotonic() + timeout
    while not path.exists():
        assert node.agent.poll() is None and time.monotonic() < deadline, node.log.read_text()[-3000:]
        time.sleep(0.05)
