"""What the first screen says of a runner: network, weights, schedule, device."""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.logging import MMLogger
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn

from fishnet_mmdet.base.config_nodes import name_of
from fishnet_mmdet.network.arch import name_of as arch_name
from fishnet_mmdet.network.fishnet import FishNet
from fishnet_mmdet.network.ops.memory_format import models_with_backbone
from fishnet_mmdet.network.ops.norm_relu import is_fixed
from fishnet_mmdet.preflight.weights import pretrained_files
from fishnet_mmdet.training.checkpoints.reader import SCHEME as RUN_SCHEME
from fishnet_mmdet.training.console.rows import Row, listed, short_path
from fishnet_mmdet.training.runner_parts import bare_model
from fishnet_mmdet.weights.catalogue import SCHEME


def rows_of_training(runner: Runner) -> list[Row]:
    """Returns the rows of a runner that is about to train: its weights are loaded."""
    # So that it is known which norms are fixed; the loop does the same.
    runner.model.train()
    return _rows(
        runner,
        classes=lambda it: describe_classes(it.train_dataloader.dataset),
        network=lambda it: describe_network(bare_model(it.model)),
        trained=lambda it: describe_frozen(bare_model(it.model)),
        weights=lambda it: describe_weights(it.cfg),
        schedule=lambda it: describe_length(it) + describe_batch(it.cfg),
        optimizer=describe_optimizer,
        validation=describe_validation,
        device=lambda it: describe_device(bare_model(it.model), it.cfg),
        log_file=lambda it: describe_log(it.logger),
        resumes=describe_resume,
    )


def rows_of_test(runner: Runner, form: str = '') -> list[Row]:
    """Returns the rows of a runner that is about to test, in another form than the model's own if there is a text."""
    return _rows(
        runner,
        classes=lambda it: describe_classes(it.test_dataloader.dataset),
        network=lambda it: describe_network(bare_model(it.model)),
        weights=lambda it: describe_weights(it.cfg),
        device=lambda it: describe_device(bare_model(it.model)),
        inference=lambda it: form,
        log_file=lambda it: describe_log(it.logger),
    )


def _rows(runner: Runner, **describe: Callable[[Runner], str]) -> list[Row]:
    """The rows that have a text. A config may hold what nobody thought of here: that costs a row, not the run."""
    rows = []
    for name, text_of in describe.items():
        try:
            text = text_of(runner)
        except Exception as error:
            runner.logger.debug(f'first screen, {name}: {type(error).__name__}: {error}')
            text = 'see the config'
        rows += [(name.replace('_', ' '), text)] * bool(text)
    return rows


def describe_classes(dataset: object) -> str:
    """How many classes a dataset has, and the first of them; empty where it has none."""
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes') or ()
    classes = [classes] if isinstance(classes, str) else list(classes)
    return f'{len(classes)}: {listed(classes)}' if classes else ''


def describe_network(model: nn.Module) -> str:
    """The type of a model, its backbone, and the number of parameters."""
    backbone = getattr(model, 'backbone', None)
    text = type(model).__name__
    if isinstance(backbone, FishNet):
        text += f', FishNet ({arch_name(backbone.arch) or "an arch of its own"})'
    elif backbone is not None:
        depth = getattr(backbone, 'depth', None)
        text += f', {type(backbone).__name__}' + (f' ({depth})' if isinstance(depth, int) else '')
    return f'{text}, {count_text(sum(p.numel() for p in model.parameters()))} parameters'


def describe_frozen(model: nn.Module) -> str:
    """How many parameters are trained, and how many norms are fixed."""
    parameters = list(model.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    total = sum(p.numel() for p in parameters)
    frozen = f'{count_text(trained)} parameters, {count_text(total - trained)} frozen'
    text = 'all parameters' if trained == total else frozen
    norms = [layer for layer in model.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    fixed = sum(is_fixed(layer) for layer in norms)
    return f'{text}; {fixed} of {len(norms)} batch norms fixed' if fixed else text


def count_text(number: int) -> str:
    """A number of parameters with three digits."""
    for unit, name in ((10**9, ' G'), (10**6, ' M'), (10**3, ' k')):
        if number >= unit:
            return f'{number / unit:.3g}{name}'
    return str(number)


def describe_weights(cfg: Config) -> str:
    """Which files the weights are from."""
    loaded = cfg.get('load_from')
    if loaded and cfg.get('resume'):
        return 'of the checkpoint'
    if loaded:
        path = loaded.removeprefix(SCHEME)
        return short_path(path) if Path(path).is_file() else loaded
    files = [f'{module}: {file}' for module, file in pretrained_files(cfg.model)]
    return '; '.join(files) or 'random'


def describe_length(runner: Runner) -> str:
    """How long a training is, and how many images it has: without those that the data set filters out."""
    loop = runner.train_loop
    dataset = loop.dataloader.dataset
    images = f', {len(dataset)} images' if hasattr(dataset, '__len__') else ''
    if isinstance(loop, IterBasedTrainLoop):
        return f'{loop.max_iters} iterations{images}'
    return f'{loop.max_epochs} epoch{"s" * (loop.max_epochs != 1)} of {len(loop.dataloader)} iterations{images}'


def describe_batch(cfg: Config) -> str:
    """Images of a step of the optimizer; empty where the sampler makes the batches."""
    each = (cfg.get('train_dataloader') or {}).get('batch_size')
    # Some samplers take a list of sizes.
    if not isinstance(each, int):
        return ''
    steps, ranks = (cfg.get('optim_wrapper') or {}).get('accumulative_counts', 1), get_world_size()
    parts = [f'{each} images', *[f'{ranks} processes'] * (ranks > 1), *[f'{steps} steps'] * (steps > 1)]
    return f', batch {each * ranks * steps}' + (f' ({" x ".join(parts)})' if len(parts) > 1 else '')


def describe_validation(runner: Runner) -> str:
    """How often how many images are validated; empty without validations."""
    loop = runner.train_loop
    if runner.val_loop is None:
        return ''
    every, unit = loop.val_interval, 'iteration' if isinstance(loop, IterBasedTrainLoop) else 'epoch'
    return f'{len(runner.val_dataloader.dataset)} images, every {unit if every == 1 else f"{every} {unit}s"}'


def describe_resume(runner: Runner) -> str:
    """Where a run continues; empty where it does not."""
    if not runner.iter:
        return ''
    file = short_path(str(runner.cfg.get('load_from')).removeprefix(RUN_SCHEME))
    return f'after epoch {runner.epoch}, iteration {runner.iter} of {runner.max_iters}: {file}'


def describe_optimizer(runner: Runner) -> str:
    """Name, learning rate, and how the rate changes."""
    config = runner.cfg.get('optim_wrapper') or {}
    groups = runner.optim_wrapper.param_groups
    # Several optimizers give groups by name.
    group = groups[0] if isinstance(groups, list) else next(iter(groups.values()))[0]
    rate = group.get('initial_lr', group['lr'])
    parts = [f'{name_of(config.get("optimizer") or {})}, learning rate {rate:.4g}']
    scaling = runner.cfg.get('auto_scale_lr') or {}
    if scaling.get('enable'):
        parts[0] += f' (scaled to the batch from that for {scaling.get("base_batch_size")} images)'
    schedulers = runner.cfg.get('param_scheduler') or []
    if isinstance(schedulers, Mapping):
        schedulers = [schedulers] if 'type' in schedulers else []
    parts += [describe_scheduler(scheduler) for scheduler in schedulers]
    clip = config.get('clip_grad') or {}
    if 'max_norm' in clip:
        parts.append(f'gradients clipped at {clip["max_norm"]:g}')
    return '; '.join(parts)


def describe_scheduler(config: Mapping) -> str:
    """A scheduler of a config: where it begins, ends or changes the rate."""
    name, unit = name_of(config), 'epoch' if config.get('by_epoch', True) else 'iteration'
    begin, end = config.get('begin', 0), config.get('end')
    if 'milestones' in config:
        return f'x {config.get("gamma", 0.1):g} at {unit}s {", ".join(map(str, config["milestones"]))}'
    span = f'{unit}s {begin} to {end}' if isinstance(end, int) and end < 10**8 else f'from {unit} {begin}'
    return f'{"warm-up" if name == "LinearLR" and begin == 0 else name} {span}'


def describe_device(model: nn.Module, cfg: Config | None = None) -> str:
    """Where a model is, and in which numbers it is trained."""
    device = next((p.device for p in model.parameters()), torch.device('cpu'))
    name = torch.cuda.get_device_name(device) if device.type == 'cuda' else device.type.upper()
    count = get_world_size()
    text = f'{count} x {name}' if count > 1 else name
    if device.type == 'cpu':
        text += f', {torch.get_num_threads()} threads' if torch.get_num_threads() > 1 else ', 1 thread'
    wrapper = (cfg.get('optim_wrapper') or {}) if cfg else {}
    if name_of(wrapper) == 'CpuAmpOptimWrapper' and models_with_backbone(model):
        return f'{text}, mixed precision (backbone and neck in bfloat16)'
    if name_of(wrapper) == 'AmpOptimWrapper':
        return f'{text}, mixed precision ({str(wrapper.get("dtype") or "float16").removeprefix("torch.")})'
    return f'{text}, {str(next((p.dtype for p in model.parameters()), "")).removeprefix("torch.")}'


def describe_log(logger: MMLogger) -> str:
    """The path of the log file, which holds the config and the environment."""
    files = [handler.baseFilename for handler in logger.handlers if hasattr(handler, 'baseFilename')]
    return short_path(files[0]) if files else 'none'
