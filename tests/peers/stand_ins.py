"""A pytest plugin that runs tests of MMEngine and mmdet with our classes in place of theirs.

Set PEERS_CLASSES=ours for that; with anything else the tests run with their own classes. PEERS_REPORT is a file that
gets the result of each test as JSON. Our classes stand in under their names, since some tests compare names.

Where a class of ours has another default or needs a companion, the stand-in sets it, so that the rest is compared:

- `max_keep_ckpts` is -1 unless the test sets it.
- `PlainCheckpoints` is added to a run with a checkpoint hook.
- The figures of the COCO metric are rounded to three digits, and the six average recalls are left out.
- The channels of a neck are those of the backbone in front of it.
"""

import json
import os
from pathlib import Path
from typing import Any

import mmengine.fileio
import mmengine.hooks
import mmengine.model
import mmengine.runner
import pytest
from guarded import Statement as Statement
from mmengine.config import ConfigDict
from mmengine.registry import HOOKS, LOOPS, MODEL_WRAPPERS
from seeded import NARROW

RESULTS: dict[str, dict] = {}
USED: set[str] = set()
"""Names of the classes of theirs in whose place ours were used."""


def stand_in(ours: type, theirs: type, **members: Any) -> type:
    """Returns a subclass of our class with the name of theirs."""

    def new(cls: type, *args: Any, **kwargs: Any) -> Any:
        USED.add(theirs.__name__)
        return object.__new__(cls)

    return type(theirs.__name__, (ours,), {'__module__': __name__, '__new__': new, **members})


def put_in_place_of(theirs: type, ours: type, *modules: Any, registry: Any = None, **members: Any) -> type:
    """Makes our class what a registry and the modules from which tests import give under the name of theirs."""
    name = theirs.__name__
    ours = stand_in(ours, theirs, **members)
    for module in modules:
        setattr(module, name, ours)
    if registry is not None:
        registry.register_module(name=name, module=ours, force=True)
    return ours


def _mmengine() -> None:
    import fishnet_mmdet
    from fishnet_mmdet import DurableCheckpoints, PlainCheckpoints

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        # The sixth argument of theirs.
        if len(args) < 6:
            kwargs.setdefault('max_keep_ckpts', -1)
        DurableCheckpoints.__init__(self, *args, **kwargs)

    def with_companion(stage: str) -> Any:
        def run(self: Any, runner: Any, *args: Any, **kwargs: Any) -> None:
            if not any(isinstance(hook, PlainCheckpoints) for hook in runner.hooks):
                runner.register_hook(PlainCheckpoints())
            getattr(DurableCheckpoints, stage)(self, runner, *args, **kwargs)

        return run

    stages = {stage: with_companion(stage) for stage in ('before_run', 'before_train', 'after_load_checkpoint')}
    put_in_place_of(
        mmengine.hooks.CheckpointHook, DurableCheckpoints, mmengine.hooks, registry=HOOKS, __init__=init, **stages
    )
    local = put_in_place_of(
        mmengine.fileio.LocalBackend, fishnet_mmdet.AtomicBackend, mmengine.fileio, mmengine.fileio.backends
    )
    mmengine.fileio.register_backend('local', local, force=True, prefixes='')
    for theirs, ours in (
        (mmengine.runner.EpochBasedTrainLoop, fishnet_mmdet.ResumableEpochLoop),
        (mmengine.runner.IterBasedTrainLoop, fishnet_mmdet.ResumableIterLoop),
    ):
        put_in_place_of(theirs, ours, mmengine.runner, mmengine.runner.runner, registry=LOOPS)
    put_in_place_of(
        mmengine.model.MMDistributedDataParallel,
        fishnet_mmdet.CPUDistributedDataParallel,
        mmengine.model,
        mmengine.runner.runner,
        registry=MODEL_WRAPPERS,
    )


def _installed_configs() -> None:
    """Lets mmdet's tests find the configs of the installed mmdet; they look for those of a checkout."""
    import mmdet.testing._utils

    configs = Path(mmdet.__file__).parent / '.mim' / 'configs'
    mmdet.testing._utils._get_config_directory = lambda: str(configs)


def _mmdet() -> None:
    import mmdet.evaluation
    import mmdet.registry

    from fishnet_mmdet import OfficialCocoMetric

    def compute_metrics(self: Any, results: list) -> dict[str, float]:
        figures = OfficialCocoMetric.compute_metrics(self, results)
        return {name: round(value, 3) for name, value in figures.items() if '_AR' not in name}

    put_in_place_of(
        mmdet.evaluation.CocoMetric,
        OfficialCocoMetric,
        mmdet.evaluation,
        registry=mmdet.registry.METRICS,
        compute_metrics=compute_metrics,
    )
    models = mmdet.registry.MODELS
    build = models.build
    models.build = lambda cfg, *args, **kwargs: build(with_fishnet(cfg), *args, **kwargs)


KEPT = ('out_indices', 'frozen_stages', 'norm_eval', 'norm_cfg', 'with_cp')
"""Arguments of a ResNet that mean the same for a FishNet."""

IGNORED = ('type', 'depth', 'num_stages', 'style', 'init_cfg', 'base_channels', 'zero_init_residual')
"""Arguments of a ResNet that a FishNet does without. A ResNet with others stays."""


def with_fishnet(config: Any) -> Any:
    """Returns the config of a detector with a narrow FishNet in place of each ResNet, teachers included."""
    if not isinstance(config, dict):
        return config
    config = ConfigDict({key: with_fishnet(value) for key, value in config.items()})
    backbone = config.get('backbone')
    if not isinstance(backbone, dict) or backbone.get('type') != 'ResNet' or set(backbone) - {*KEPT, *IGNORED}:
        return config
    USED.add('ResNet')
    levels = backbone.get('out_indices', (0, 1, 2, 3))
    former = [backbone.get('base_channels', 64) * (1 if backbone.depth < 50 else 4) * 2**i for i in levels]
    config.backbone = dict(type='FishNet', arch=NARROW, **{key: backbone[key] for key in KEPT if key in backbone})
    return _with_channels(config, former, [NARROW.out_channels[i] for i in levels])


def _with_channels(config: dict, former: list[int], now: list[int], in_neck: bool = False) -> ConfigDict:
    """Replaces the channels of all levels where a list names them; in a neck, a number names those of the last."""
    for key, value in config.items():
        if isinstance(value, dict):
            config[key] = _with_channels(value, former, now, in_neck or key == 'neck')
        elif key == 'in_channels' and value == former:
            config[key] = now
        elif key == 'in_channels' and in_neck and value == former[-1]:
            config[key] = now[-1]
    return config


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Any:
    """Collects the failures of a test."""
    Statement.noted = {}
    RESULTS[item.nodeid] = {'skipped': False, 'failures': Statement.noted}
    return (yield)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Notes what ended a test early."""
    result = RESULTS[report.nodeid]
    result['skipped'] |= report.skipped
    if report.failed:
        result['failures'][0] = f'{report.when}: {report.longrepr}'[-600:]


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Notes a file that cannot be imported."""
    if report.failed:
        RESULTS[report.nodeid] = {'skipped': False, 'failures': {0: str(report.longrepr)[-600:]}}


def pytest_sessionfinish() -> None:
    """Writes the results."""
    if Statement.noting_process == os.getpid():
        Path(os.environ['PEERS_REPORT']).write_text(json.dumps({'used': sorted(USED), 'tests': RESULTS}))


def pytest_configure() -> None:
    """Failures are noted in this process only."""
    Statement.noting_process = os.getpid()


_installed_configs()
if os.environ.get('PEERS_CLASSES') == 'ours':
    # Here, so that processes which a test starts do the same.
    _mmengine()
    _mmdet()
