"""FishNet for MMDetection 3.x: importing the package registers the backbone, its hooks and its metric.

In a config: `custom_imports=dict(imports=['fishnet_mmdet'], allow_failed_imports=False)`.
"""

import sys

__version__ = '0.1.0'

try:
    from fishnet_mmdet.arch import ARCHS, FishNetArch
    from fishnet_mmdet.classifier import FishNetClassifier, FishNetNeck
    from fishnet_mmdet.data.panoptic import LoadPanopticMaps
    from fishnet_mmdet.data.tiny_imagenet import TinyImageNet
    from fishnet_mmdet.deploy import optimize_for_inference
    from fishnet_mmdet.fishnet import FishNet
    from fishnet_mmdet.report.accuracy_report import AccuracyReport
    from fishnet_mmdet.report.ap_report import APReport
    from fishnet_mmdet.report.metric import OfficialCocoMetric
    from fishnet_mmdet.report.panoptic import PanopticQuality
    from fishnet_mmdet.report.pixel_reports import MIoUReport, PQReport
    from fishnet_mmdet.training.channels_last import ChannelsLast
    from fishnet_mmdet.training.checkpoints import PlainCheckpoints
    from fishnet_mmdet.training.clipping import EarlyClipping
    from fishnet_mmdet.training.distributed import CPUDistributedDataParallel
    from fishnet_mmdet.training.durable import AtomicBackend, DurableCheckpoints
    from fishnet_mmdet.training.guards import FixedNormGuard, NonFiniteGuard
    from fishnet_mmdet.training.heads import ClassCountGuard
    from fishnet_mmdet.training.lifeline import LostRankGuard
    from fishnet_mmdet.training.loops import ResumableEpochLoop, ResumableIterLoop, SeededBatches
except Exception:
    # `python -m fishnet_mmdet.doctor` is there to say what is wrong with a stack on which this import fails.
    if 'fishnet_mmdet.doctor' not in sys.orig_argv:
        raise

__all__ = [
    'ARCHS',
    'APReport',
    'AccuracyReport',
    'AtomicBackend',
    'CPUDistributedDataParallel',
    'ChannelsLast',
    'ClassCountGuard',
    'DurableCheckpoints',
    'EarlyClipping',
    'FishNet',
    'FishNetArch',
    'FishNetClassifier',
    'FishNetNeck',
    'FixedNormGuard',
    'LoadPanopticMaps',
    'LostRankGuard',
    'MIoUReport',
    'NonFiniteGuard',
    'OfficialCocoMetric',
    'PQReport',
    'PanopticQuality',
    'PlainCheckpoints',
    'ResumableEpochLoop',
    'ResumableIterLoop',
    'SeededBatches',
    'TinyImageNet',
    'optimize_for_inference',
]
