"""An experiment of seconds on drawn images, and results without a training, for tests of the comparison."""

from conftest import CONFIGS

SMALL = """
backbones = dict(
    fish=dict(type='FishNet', arch=dict(
        tail=(1, 1, 1), bridge=1, body=(1, 1, 1), body_transfer=(1, 1, 1), head=(1, 1, 1), head_transfer=(1, 1, 1),
        stem_width=16, tail_widths=(32, 64, 128), body_widths=(128, 96, 64))),
    resnet=dict(type='ResNet', depth=18, base_channels=8),
)
baseline = 'resnet'
rounds = [['fish', 'resnet']]
seeds = [3]
tracks = dict(scratch=dict(config='detector.py', rates=[2e-3]))
rate_epochs = 1
held_out = 0.25
side = 64
pictures = 2
"""


def write_small(folder, demo_data):
    """Writes the experiment and its detector; returns its file."""
    data = dict(data_root=f'{demo_data}/')
    settings = dict(
        train_dataloader=dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=data),
        val_dataloader=dict(num_workers=0, persistent_workers=False, dataset=data),
        test_dataloader=dict(num_workers=0, persistent_workers=False, dataset=data),
        val_evaluator=dict(ann_file=f'{demo_data}/annotations/instances_val.json'),
        test_evaluator=dict(ann_file=f'{demo_data}/annotations/instances_val.json'),
        train_cfg=dict(max_epochs=2, val_interval=1),
        default_hooks=dict(logger=dict(interval=1)),
    )
    lines = [f'{key} = {value!r}' for key, value in settings.items()]
    base = f'_base_ = {str(CONFIGS / "mask_rcnn_fishnet_demo.py")!r}'
    (folder / 'detector.py').write_text('\n'.join([base, *lines]) + '\n')
    (folder / 'small.py').write_text(SMALL)
    return folder / 'small.py'


def result(ap, seconds=100.0, epochs=12, **more):
    """What a run leaves whose figures are all `ap`."""
    figures = dict.fromkeys(('AP', 'AP50', 'AP75', 'AP_S', 'AP_M', 'AP_L'), ap)
    curve = {str(epoch): figures for epoch in (epochs // 2, epochs)}
    return dict(
        segm=figures, bbox=figures, segm_curve=curve, bbox_curve=curve, epochs=epochs, train_seconds=seconds,
        iteration_ms=5.0, loss={'10': 2.0, '20': 1.0}, checkpoint='epoch_12.pth', process_peak_mb=9.0, **more,
    )  # fmt: skip
