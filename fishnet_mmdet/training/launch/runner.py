"""Builds and runs MMEngine's runner; mistakes in the config become errors of one line."""

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.config import Config
from mmengine.registry import MODELS, RUNNERS, build_functions
from mmengine.runner import Runner

from fishnet_mmdet.base.config_nodes import mappings
from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.training.console import Screen
from fishnet_mmdet.training.distributed import prepare_cpu_processes
from fishnet_mmdet.training.launch.formatted import FormattedOnce
from fishnet_mmdet.training.launch.suggestions import closest_argument, closest_type

UNKNOWN_TYPE = re.compile(r'(\S+) is not in the \S+::(.+?) registry|Failed to get (\S+)')
"""MMEngine's messages for a `type` that nothing registers."""

UNKNOWN_LAYER = re.compile(r'Cannot find None in registry')
"""What mmcv says of a layer with an unknown `type`, without naming it."""

LAYERS = ('norm_cfg', 'conv_cfg', 'act_cfg', 'upsample_cfg', 'padding_cfg')

NO_OPTIMIZER = 'None is not a callable object'
"""Python's message when MMEngine inspects the class of an optimizer that nothing registers."""

ARGUMENTS = re.compile(r"(?:(\w+)\.)?__init__\(\) (got an unexpected keyword argument '(\w+)'|missing \d+ required .*)")
"""Python's messages for a constructor that is called with wrong arguments."""


def build_runner(cfg: Config, screen: Screen | None = None) -> Runner:
    """Builds the runner of a config, prepared for several processes on the CPU too; its loader workers are isolated.

    Args:
        cfg: The config.
        screen: What the run shows instead of MMEngine's lines.

    Raises:
        ConfigError: A mistake in the config; see `config_mistakes`.
    """
    prepare_cpu_processes(cfg)
    _isolate_workers(cfg)
    cfg = FormattedOnce.of(cfg)
    with config_mistakes(cfg):
        if screen is None or not screen.is_own:
            return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
        kind = cfg.get('runner_type', Runner)
        with RUNNERS.switch_scope_and_registry(cfg.get('_scope_')) as registry:
            base = registry.get(kind) if isinstance(kind, str) else kind
            # An unknown name: MMEngine's error.
            runner = screen.runner_class(base).from_cfg(cfg) if base else RUNNERS.build(cfg)
        screen.attach(runner.logger)
        return runner


def _isolate_workers(cfg: Config) -> None:
    """Workers of validation and test get no signal of the trainer's, and end with it; training loops do the same."""
    for name in ('val_dataloader', 'test_dataloader'):
        if loader := cfg.get(name):
            loader.setdefault('worker_init_fn', dict(type='isolate_worker_signals'))
            # MMEngine takes it out of the arguments only where it sets a worker_init_fn itself.
            loader.pop('disable_subprocess_warning', None)


@contextmanager
def config_mistakes(cfg: Config) -> Iterator[None]:
    """Context in which an unknown type or a wrong argument in the config raises a `ConfigError`.

    Errors that may have another cause stay as they are.

    Raises:
        ConfigError: The message names the type or the argument.
    """
    try:
        yield
    except (KeyError, TypeError, RuntimeError) as error:
        if message := _explain(error, cfg):
            raise ConfigError(message) from error
        raise


def _explain(error: Exception, cfg: Config) -> str | None:
    """Returns the message for an error that a mistake in the config caused; None where that is not certain."""
    text = str(error.args[0]) if error.args else ''
    if unknown := UNKNOWN_TYPE.match(text):
        name, registry = unknown[1] or unknown[3], unknown[2] or 'type'
        return (
            f"config: type='{name}' is not a registered {registry}.{closest_type(name, registry)} Check its spelling, "
            "its scope (such as 'mmdet.') and custom_imports"
        )
    if UNKNOWN_LAYER.match(text) and (layers := _unknown_layers(cfg)):
        return f'config: {", ".join(layers)}: not a registered layer. Check its spelling'
    if text == NO_OPTIMIZER:
        kind = (cfg.get('optim_wrapper') or {}).get('optimizer', {}).get('type')
        hint = closest_type(str(kind), 'optimizer')
        return f"config: optim_wrapper.optimizer.type='{kind}' is not a registered optimizer.{hint} Check its spelling"
    arguments = ARGUMENTS.search(text) if isinstance(error, TypeError) else None
    if not arguments:
        return None
    name, problem, keyword = arguments.groups()
    if keyword:
        # Code may also pass a wrong keyword; then the config does not hold it.
        is_from_config = any(keyword in node for node in mappings(cfg.to_dict()))
    else:
        # MMEngine's registry makes its calls with the arguments of the config.
        is_from_config = traceback.extract_tb(error.__traceback__)[-1].filename == build_functions.__file__
    hint = closest_argument(error, keyword) if keyword else ''
    return f'config: {name or "a constructor"} {problem}{hint and "."}{hint}' if is_from_config else None


def _unknown_layers(cfg: Config) -> list[str]:
    """Returns the settings of layers in a model whose type nothing registers, as text."""
    layers = [(key, node[key].get('type')) for node in mappings(cfg.model) for key in LAYERS if node.get(key)]
    return sorted({f'{key}.type={kind!r}' for key, kind in layers if isinstance(kind, str) and not MODELS.get(kind)})
