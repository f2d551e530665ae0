"""Is FishNet-150 better than ResNet-50 on nuclei? An experiment that a CPU can run.

`tools/compare_backbones.py` runs this file. `nuclei.py` is the experiment for a GPU.
"""

backbones = dict(
    fishnet150=dict(type='FishNet', arch='fishnet150'),
    resnet50=dict(type='ResNet', depth=50),
)
baseline = 'resnet50'
rounds = [['fishnet150', 'resnet50']]
seeds = [0, 1, 2]

tracks = dict(scratch=dict(config='../mask_rcnn_fishnet150_nuclei_cpu.py', rates=[1e-3, 3e-3]))

# Learning rates are tried over fewer epochs. They are judged on images that are held out of the training set, never on
# the validation set.
rate_epochs = 2
held_out = 0.2

# Side in pixels of the image for which multiply-adds are counted.
side = 256
# Number of images that are painted.
pictures = 8
