"""What protects every run: guards, durable checkpoints, reports of the figures. Every config is built on this file.

MMEngine allows a key in one base file only, and `default_hooks` and `env_cfg` belong to the default runtime of each
package. The base configs of this folder therefore set these two keys, from the values that are defined here.
"""

custom_imports = dict(imports=['fishnet_mmdet'], allow_failed_imports=False)

# All guards, plain checkpoints and reports: docs/guards.md.
custom_hooks = [dict(type='SafetyHooks')]
durable_checkpoints = dict(type='DurableCheckpoints', max_keep_ckpts=2)
# Seconds. While rank 0 computes the figures, the other ranks wait in a collective. LostRankGuard, not this timeout,
# notices a rank that has died, and does so within a minute.
patient_collectives = dict(timeout=3600)
