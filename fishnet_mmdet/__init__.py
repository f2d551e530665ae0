"""FishNet for MMDetection 3.x: importing the package registers the backbone, its hooks and its metrics.

In a config: `custom_imports=dict(imports=['fishnet_mmdet'], allow_failed_imports=False)`. What is built on mmdet is
registered where mmdet is installed; classifiers (mmpretrain) and segmentors (mmsegmentation) do without it.
"""

import os
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path

from fishnet_mmdet.base.startup import collector_paused, import_yapf, is_run_as_module, share_cores

__version__ = '0.1.0'

if is_run_as_module(__name__):
    share_cores(os.environ)

try:
    with warnings.catch_warnings(), collector_paused():
        # MMEngine imports it; nobody who imports this package can change that.
        warnings.filterwarnings('ignore', message='pkg_resources is deprecated')
        import_yapf(os.environ)
        from fishnet_mmdet.base.errors import UserError
        from fishnet_mmdet.data.tiny_imagenet import TinyImageNet
        from fishnet_mmdet.deploy.inference import optimize_for_inference
        from fishnet_mmdet.evaluation.accuracy_report import AccuracyReport
        from fishnet_mmdet.evaluation.ap_report import APReport
        from fishnet_mmdet.evaluation.class_report import ClassAPReport
        from fishnet_mmdet.evaluation.pixel_reports import MIoUReport, PQReport
        from fishnet_mmdet.network.arch import ARCHS, FishNetArch
        from fishnet_mmdet.network.classifier import FishNetClassifier, FishNetNeck
        from fishnet_mmdet.network.fishnet import FishNet
        from fishnet_mmdet.network.zero_residuals import ZeroResiduals
        from fishnet_mmdet.training.channels_last import ChannelsLast
        from fishnet_mmdet.training.checkpoints.backend import AtomicBackend
        from fishnet_mmdet.training.checkpoints.durable import DurableCheckpoints
        from fishnet_mmdet.training.checkpoints.plain import PlainCheckpoints
        from fishnet_mmdet.training.clipping import EarlyClipping
        from fishnet_mmdet.training.cpu_amp import CpuAmpOptimWrapper
        from fishnet_mmdet.training.distributed import CPUDistributedDataParallel
        from fishnet_mmdet.training.guards.class_count import ClassCountGuard
        from fishnet_mmdet.training.guards.fixed_norm import FixedNormGuard
        from fishnet_mmdet.training.guards.lost_rank import LostRankGuard
        from fishnet_mmdet.training.guards.non_finite import NonFiniteGuard
        from fishnet_mmdet.training.guards.scratch_norm import ScratchNormGuard
        from fishnet_mmdet.training.loops import ResumableEpochLoop, ResumableIterLoop, SeededBatches
        from fishnet_mmdet.training.progressive_size import ProgressiveSize
        from fishnet_mmdet.training.safety import SafetyHooks
        from fishnet_mmdet.weights.initializer import FishNetPretrained

        if find_spec('mmdet'):
            from fishnet_mmdet.data.panoptic import LoadPanopticMaps
            from fishnet_mmdet.evaluation.metric import OfficialCocoMetric
            from fishnet_mmdet.evaluation.panoptic import PanopticQuality
except Exception as error:
    # A broken environment can fail with any error. With the name, `python -m fishnet_mmdet.doctor` ends in one line.
    doctor = Path(__file__).with_name('doctor')
    raise ImportError(
        f'fishnet_mmdet cannot be imported ({type(error).__name__}: {error}). To see what is missing or broken, run: '
        f'{sys.executable} {doctor}',
        name=__name__,
    ) from error

__all__ = [
    'ARCHS',
    'APReport',
    'AccuracyReport',
    'AtomicBackend',
    'CPUDistributedDataParallel',
    'ChannelsLast',
    'ClassAPReport',
    'ClassCountGuard',
    'CpuAmpOptimWrapper',
    'DurableCheckpoints',
    'EarlyClipping',
    'FishNet',
    'FishNetArch',
    'FishNetClassifier',
    'FishNetNeck',
    'FishNetPretrained',
    'FixedNormGuard',
    'LostRankGuard',
    'MIoUReport',
    'NonFiniteGuard',
    'PQReport',
    'PlainCheckpoints',
    'ProgressiveSize',
    'ResumableEpochLoop',
    'ResumableIterLoop',
    'SafetyHooks',
    'ScratchNormGuard',
    'SeededBatches',
    'TinyImageNet',
    'UserError',
    'ZeroResiduals',
    'optimize_for_inference',
]
if find_spec('mmdet'):
    __all__ += ['LoadPanopticMaps', 'OfficialCocoMetric', 'PanopticQuality']
