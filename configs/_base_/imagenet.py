"""ImageNet-1k under the released recipe: batch 256, 100 epochs, step; crop, flip and PCA lighting."""

_base_ = './classifier.py'
# To read ImageNet from another folder: IMAGENET_ROOT=/path/to/imagenet tools/train.py ...
data_root = '{{$IMAGENET_ROOT:data/imagenet}}/'

train_pipeline = [
    # As floats: on bytes, Lighting would overflow and turn white into black.
    dict(type='LoadImageFromFile', to_float32=True),
    # 8-100 % of the area, aspect ratio 3/4-4/3.
    dict(type='RandomResizedCrop', scale=224),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    # AlexNet's principal components of ImageNet's colours. Images are BGR here.
    dict(
        type='Lighting',
        eigval=[55.4625, 4.7940, 1.1475],
        eigvec=[[-0.5836, -0.6948, 0.4203], [-0.5808, -0.0045, -0.8140], [-0.5675, 0.7192, 0.4009]],
        alphastd=0.1,
        to_rgb=False,
    ),
    dict(type='PackInputs'),
]
test_pipeline = [
    # Decoded and resized as the released code does it.
    dict(type='LoadImageFromFile', imdecode_backend='pillow'),
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
# 32 images on each of 8 GPUs.
train_dataloader = dict(
    batch_size=32,
    num_workers=8,
    persistent_workers=True,
    dataset=dict(type='ImageNet', data_root=data_root, split='train', pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=8,
    persistent_workers=True,
    dataset=dict(type='ImageNet', data_root=data_root, split='val', pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = val_dataloader

# Weight decay on all weights and biases, as released.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4))
param_scheduler = dict(type='MultiStepLR', milestones=[30, 60, 90], gamma=0.1)
auto_scale_lr = dict(enable=False, base_batch_size=256)
