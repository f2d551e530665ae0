"""Tests a checkpoint with its config."""

from collections.abc import Sequence
from typing import Any

from mmengine.config import Config
from mmengine.evaluator import DumpResults, Evaluator
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.training.checkpoints.complete import StrictLoading
from fishnet_mmdet.training.console import Screen
from fishnet_mmdet.training.console.hook import follow
from fishnet_mmdet.training.console.summary import rows_of_test
from fishnet_mmdet.training.distributed import leave_process_group
from fishnet_mmdet.training.launch.checks import run_checks, show_config
from fishnet_mmdet.training.launch.config import is_classifier, is_segmentor
from fishnet_mmdet.training.launch.runner import build_runner, config_mistakes
from fishnet_mmdet.training.launch.start import check_file
from fishnet_mmdet.training.launch.switches import switch_on_pictures, switch_on_tta
from fishnet_mmdet.training.rank_zero import on_rank_zero
from fishnet_mmdet.weights.load import for_mmengine


def test(
    cfg: Config,
    checkpoint: str,
    *,
    out: str | None = None,
    show_dir: str | None = None,
    show: bool = False,
    wait_time: float = 2,
    tta: bool = False,
    form: Hook | None = None,
    console: str = 'auto',
) -> None:
    """Tests a checkpoint and prints its table: AP, accuracy, mean IoU or PQ.

    Args:
        cfg: A config from `load_config`; changed in place.
        checkpoint: A file that training wrote, any other file that fits the model key by key, the https address of such
            a file, or `fishnet://NAME`.
        out: A .pkl file for the raw predictions.
        show_dir: A folder for pictures of predictions beside the annotations, below the run's log folder; a
            segmentor's lies below the work dir.
        show: Whether to show these pictures in windows.
        wait_time: Seconds that each window stays.
        tta: Whether to average over flips.
        form: A hook that changes the model once its weights are loaded, such as `deploy.TestOptimized`. Its `str` is
            shown.
        console: What is shown, a key of `fishnet_mmdet.training.console.MODES`.

    Raises:
        ConfigError: A setting that cannot be used.
        PreflightError: Before anything is built; see `fishnet_mmdet.preflight`.
        WeightsError: A checkpoint that cannot be read or does not fit.
    """
    if out and not out.endswith(('.pkl', '.pickle')):
        raise ConfigError(f'--out {out}: the file of predictions must end in .pkl or .pickle')
    check_file(checkpoint)
    # Through this package's reader: it takes any key naming and container, and unpickles nothing.
    cfg.load_from = for_mmengine(checkpoint)
    # It stands in a config that a resumed run has written.
    cfg.resume = False
    if show or show_dir:
        switch_on_pictures(cfg, show, show_dir, wait_time)
    if tta:
        switch_on_tta(cfg)
    with Screen(console) as screen:
        show_config(screen, cfg)
        on_rank_zero(cfg, lambda: run_checks(cfg, screen, ['test'], weights=False))
        screen.set_status('building the model and the data sets')
        runner = build_runner(cfg, screen)
        runner.register_hook(StrictLoading())
        if form:
            runner.register_hook(form)
        follow(runner, screen, lambda it: rows_of_test(it, str(form or '')))
        if out:
            runner.register_hook(DumpPredictions(_dump_class(cfg)(out_file_path=out)))
        with config_mistakes(cfg):
            runner.test()
        del runner
        leave_process_group()


class DumpPredictions(Hook):
    """Writes raw predictions, beside any evaluator.

    One of several data sets (`MultiDatasetsEvaluator`) has a metric for each of them, and lets no further one write.

    Args:
        metric: What writes them.
    """

    def __init__(self, metric: DumpResults) -> None:
        self.evaluator = Evaluator(metric)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[BaseDataElement] = ()
    ) -> None:
        """Takes the predictions of a batch."""
        self.evaluator.process(outputs, data_batch)

    def after_test_epoch(self, runner: Runner, metrics: Any = None) -> None:
        """Writes the file, on rank 0."""
        self.evaluator.evaluate(len(runner.test_dataloader.dataset))


def _dump_class(cfg: Config) -> type[DumpResults]:
    """The metric that writes raw predictions; mmdet's encodes masks."""
    if is_classifier(cfg) or is_segmentor(cfg):
        return DumpResults
    from mmdet.evaluation import DumpDetResults

    return DumpDetResults
