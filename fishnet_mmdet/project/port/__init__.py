"""Puts FishNet into any config of MMDetection, MMPretrain or MMSegmentation that has a ResNet."""

from fishnet_mmdet.project.port.plan import Port, parse_arch, port_config

__all__ = ['Port', 'parse_arch', 'port_config']
