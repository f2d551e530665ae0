"""Checks whether this machine is ready to train.

Run as a folder, `python fishnet_mmdet/doctor`, it needs only Python's standard library, so it also works where `import
fishnet_mmdet` fails. So its modules import nothing else at their top, and no other room.
"""
