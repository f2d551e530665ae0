"""`fishnet-mmdet port`: FishNet in configs of MMDetection, MMSegmentation and MMPretrain."""

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from fishnet_mmdet import FishNet
from fishnet_mmdet.base.errors import ConfigError
from fishnet_mmdet.commands import run_command
from fishnet_mmdet.lab.port_report.steps import train_a_step
from fishnet_mmdet.network.arch import ARCHS, resolve_arch
from fishnet_mmdet.network.arch_checks import largest_group_count
from fishnet_mmdet.network.fishnet import KAIMING_INIT
from fishnet_mmdet.project.port import parse_arch, port_config
from fishnet_mmdet.project.port.bases import read_base

NARROW = dict(base='fishnet99', width=0.25)
RETINA = 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'
CAFFE = 'mmdet::retinanet/retinanet_r50-caffe_fpn_1x_coco.py'
DYHEAD = 'mmdet::dyhead/atss_r50-caffe_fpn_dyhead_1x_coco.py'
GN = 'mmdet::gn/mask-rcnn_r50_fpn_gn-all_2x_coco.py'
DC5 = 'mmdet::faster_rcnn/faster-rcnn_r50-caffe-dc5_1x_coco.py'
C4 = 'mmdet::faster_rcnn/faster-rcnn_r50-caffe_c4-1x_coco.py'
SOFT_TEACHER = 'mmdet::soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py'
DEEPLAB = 'mmseg::deeplabv3plus/deeplabv3plus_r50-d8_4xb4-80k_ade20k-512x512.py'
UPERNET = 'mmseg::upernet/upernet_r50_4xb4-80k_ade20k-512x512.py'
OCRNET = 'mmseg::ocrnet/ocrnet_r101-d8_4xb2-40k_cityscapes-512x1024.py'
CLASSIFIER = 'mmpretrain::resnet/resnet50_8xb32_in1k.py'
CIFAR = 'mmpretrain::resnet/resnet18_8xb16_cifar10.py'


def scratch(config):
    return port_config(config, NARROW, scratch=True)


class TestModels:
    @pytest.mark.parametrize('config', [RETINA, C4, DC5, DEEPLAB, OCRNET, CLASSIFIER])
    def test_train_for_a_step(self, config):
        """With finite losses and gradients, and one in the backbone: else an exception."""
        assert train_a_step(scratch(config).config(), side=64)['gradient'] > 0

    @pytest.mark.parametrize(
        'config, neck, head',
        [
            (DYHEAD, [80, 208, 400, 528], None),
            ('mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py', [208, 400, 528], None),
            ('mmdet::detr/detr_r50_8xb2-150e_coco.py', [528], None),
            ('mmdet::yolof/yolof_r50-c5_8xb8-1x_coco.py', 528, None),
            ('mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py', None, ('panoptic_head', [80, 208, 400, 528])),
            (UPERNET, None, ('decode_head', [80, 208, 400, 528])),
            (UPERNET, None, ('auxiliary_head', 400)),
            (CIFAR, 528, ('head', 264)),
        ],
    )
    def test_necks_and_heads_take_the_levels(self, config, neck, head):
        ported = scratch(config).config()
        model = ported.model
        first = model.get('neck')
        first = first[0] if isinstance(first, list) else first
        assert neck is None or first.in_channels == neck
        assert head is None or model[head[0]].in_channels == head[1]
        init_default_scope(ported.default_scope)
        assert isinstance(MODELS.build(model).backbone, FishNet)

    def test_the_detector_in_a_wrapper(self):
        port = scratch(SOFT_TEACHER)
        detector = port.config().model.detector
        assert (detector.backbone.type, detector.neck.in_channels) == ('FishNet', [80, 208, 400, 528])
        assert detector.neck.norm_cfg == dict(type='BN')

    def test_a_dilated_c5_becomes_the_level_of_its_stride(self):
        model = scratch(DC5).config().model
        assert model.backbone.out_indices == (2,)
        assert model.roi_head.bbox_roi_extractor.out_channels == model.rpn_head.in_channels == 400

    def test_the_shared_head_of_c4_gets_the_channels_of_the_resnet(self):
        model = scratch(C4).config().model
        assert (model.neck.in_channels, model.neck.out_channels, model.neck.norm_cfg.type) == ([400], 1024, 'BN')
        assert model.rpn_head.in_channels == 1024

    def test_ocr_takes_its_level_at_the_size_of_the_head_before_it(self):
        first, ocr = scratch(OCRNET).config().model.decode_head
        assert (first.in_index, first.in_channels) == (2, 400)
        assert (ocr.in_index, ocr.in_channels, ocr.input_transform) == ([2, 3], [400, 528], 'resize_concat')

    def test_a_stem_for_small_images(self):
        assert scratch(CIFAR).config().model.backbone.arch['stem_stride'] == 1


class TestNorms:
    def test_pretrained_as_the_paper_trains(self):
        backbone = port_config(RETINA).config().model.backbone
        assert backbone == dict(
            type='FishNet',
            arch='fishnet150',
            frozen_stages=0,
            norm_cfg=dict(type='BN', requires_grad=False),
            norm_eval=True,
            init_cfg=dict(type='Pretrained', checkpoint='fishnet://fishnet150-imagenet'),
        )

    def test_scratch_has_a_norm_in_the_neck_or_behind_the_levels(self):
        assert scratch(RETINA).config().model.neck.norm_cfg == dict(type='BN')
        assert scratch(DC5).config().model.backbone.arch['levels'] == 'norm_relu'
        yolof = scratch('mmdet::yolof/yolof_r50-c5_8xb8-1x_coco.py').config().model
        assert 'norm_cfg' not in yolof.neck and 'levels' not in yolof.backbone.arch  # this neck has norms

    def test_residuals_start_as_those_of_the_resnet(self):
        assert 'init_cfg' not in scratch(RETINA).config().model.backbone
        without = scratch('mmdet::scratch/mask-rcnn_r50-scratch_fpn_gn-all_6x_coco.py').config().model.backbone
        assert without.init_cfg == KAIMING_INIT  # zero_init_residual=False
        FishNet(**{key: value for key, value in without.items() if key != 'type'}).init_weights()

    def test_group_norm_gets_the_groups_that_fit(self):
        model = port_config(GN, 'fishnet150', scratch=True).config().model
        assert model.backbone.norm_cfg == dict(type='GN', num_groups=16)
        assert model.neck.norm_cfg.num_groups == 32
        FishNet(norm_cfg=model.backbone.norm_cfg)

    def test_fishnet_says_what_fits(self):
        with pytest.raises(ConfigError, match=r'32 does not divide .* 1, 2, 4, 8, 16 do: .*num_groups=16\)'):
            FishNet(norm_cfg=dict(type='GN', num_groups=32))

    @pytest.mark.parametrize('arch', [NARROW, 'fishnext99', dict(base='fishnet99', stem='residual', down='conv')])
    def test_the_largest_number_of_groups_is_the_largest(self, arch, monkeypatch):
        most = largest_group_count(resolve_arch(arch))
        FishNet(arch, norm_cfg=dict(type='GN', num_groups=most))
        monkeypatch.setattr('fishnet_mmdet.network.fishnet.check_norm', lambda arch, norm: None)
        with pytest.raises(ValueError, match='divisible'):
            FishNet(arch, norm_cfg=dict(type='GN', num_groups=2 * most))

    def test_named_architectures_take_16_groups_fishnext_32(self):
        found = {name: largest_group_count(arch) for name, arch in ARCHS.items()}
        assert found == {name: 32 if name.startswith('fishnext') else 16 for name in ARCHS}


class TestTheRestOfTheConfig:
    def test_caffe_images_become_rgb(self):
        preprocessor = port_config(CAFFE).config().model.data_preprocessor
        assert preprocessor.mean == [123.675, 116.28, 103.53] and preprocessor.std == [58.395, 57.12, 57.375]
        assert preprocessor.bgr_to_rgb and preprocessor.pad_size_divisor == 32
        nested = port_config(SOFT_TEACHER).config().model.data_preprocessor.data_preprocessor
        assert nested.bgr_to_rgb
        assert not any('data_preprocessor' in edit.path for edit in port_config(RETINA).edits)

    def test_hooks_and_imports_are_added(self, tmp_path):
        own = tmp_path / 'own.py'
        own.write_text(
            f"_base_ = '{read_base(RETINA).path}'\n"
            "custom_imports = dict(imports=['json'], allow_failed_imports=False)\n"
            "load_from = 'detector.pth'\n"
        )
        config = port_config(own).config()
        assert config.custom_imports == dict(imports=['json', 'fishnet_mmdet'], allow_failed_imports=False)
        assert config.default_hooks.safety == dict(type='SafetyHooks') and config.default_hooks.logger
        assert config.load_from is None

    @pytest.mark.parametrize(
        ('config', 'loop'),
        [
            (RETINA, 'ResumableEpochLoop'),
            (UPERNET, 'ResumableIterLoop'),
            # MMPretrain says `by_epoch` instead of a type.
            (CLASSIFIER, 'ResumableEpochLoop'),
            # Its sampler draws groups from two data sets.
            (SOFT_TEACHER, 'IterBasedTrainLoop'),
        ],
    )
    def test_runs_stop_and_continue_wherever_they_are_plain(self, config, loop):
        port = port_config(config)
        before, after = port.base.config, port.config()
        assert after.train_cfg == {k: v for k, v in before.train_cfg.items() if k != 'by_epoch'} | dict(type=loop)
        assert after.default_hooks.checkpoint == {**before.default_hooks.checkpoint, 'type': 'DurableCheckpoints'}

    def test_a_loop_and_a_hook_of_its_own_stay(self, tmp_path):
        own = tmp_path / 'own.py'
        own.write_text(
            f"_base_ = '{read_base(RETINA).path}'\n"
            "train_cfg = dict(type='MyLoop')\ndefault_hooks = dict(checkpoint=dict(type='MyCheckpoints'))\n"
        )
        config = port_config(own).config()
        assert config.train_cfg.type == 'MyLoop' and config.default_hooks.checkpoint.type == 'MyCheckpoints'

    def test_weights_of_whole_models_are_left_out(self):
        assert port_config(DEEPLAB).config().model.pretrained is None
        tracker = port_config('mmdet::masktrack_rcnn/masktrack-rcnn_mask-rcnn_r50_fpn_8xb1-12e_youtubevis2019.py')
        assert tracker.config().model.detector.init_cfg is None

    def test_what_is_dropped_is_said(self):
        (line,) = port_config('mmdet::dcn/faster-rcnn_r50-dconv-c3-c5_fpn_1x_coco.py').notes
        assert line.startswith('dropped: backbone.dcn')
        assert any('strides [4, 8, 8, 8]' in line for line in port_config(DEEPLAB).notes)


class TestRefusals:
    @pytest.mark.parametrize(
        'config, message',
        [
            ('mmdet::misc/d2_retinanet_r50-caffe_fpn_ms-90k_coco.py', 'is a build_retinanet_resnet_fpn_backbone'),
            ('mmdet::tridentnet/tridentnet_r50-caffe_1x_coco.py', 'model.backbone is a TridentResNet'),
            ('mmdet::swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py', 'model.backbone is a SwinTransformer'),
            ('mmdet::detectors/detectors_cascade-rcnn_r50_1x_coco.py', 'neck is a RFP'),
            ('mmdet::retinanet/none.py', 'there is no file'),
            ('nopackage::a.py', "'nopackage' is not installed"),
            ('none.py', 'config file not found'),
            ('mask_rcnn_fishnet150_fpn', 'has a FishNet already'),
            ('mmdet::_base_/datasets/coco_detection.py', 'has no model'),
        ],
    )
    def test_name_the_thing(self, config, message):
        with pytest.raises(ConfigError, match=message):
            port_config(config)

    @pytest.mark.parametrize(
        'config, near',
        [
            ('mmdet::retinanet/retinanet_r50_fpn_1x_cocoo.py', 'mmdet::retinanet/retinanet_r50_fpn_1x_coco.py'),
            ('mmdet::atss_r50_fpn_1x_coco.py', 'mmdet::atss/atss_r50_fpn_1x_coco.py'),
            ('mmdet::cascade_rcnn/cascade_rcnn_r50_fpn_1x_coco', 'mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py'),
        ],
    )
    def test_a_misspelt_name_gets_those_that_are_near(self, config, near):
        with pytest.raises(ConfigError, match=f'there is no file .*is one of these meant: .*{near}'):
            port_config(config)

    @pytest.mark.parametrize('name', [RETINA, UPERNET])
    def test_a_written_config_finds_its_base(self, name, tmp_path):
        """By the name, where MMEngine finds it; OneDL's does not find its own mmsegmentation."""
        (tmp_path / 'own.py').write_text(f'_base_ = {read_base(name).seen_from(tmp_path)!r}\n')
        assert Config.fromfile(tmp_path / 'own.py').model.type

    def test_pure_python_configs(self, tmp_path):
        (tmp_path / 'lazy.py').write_text('from mmengine.config import read_base\nwith read_base():\n    pass\n')
        with pytest.raises(ConfigError, match='pure Python style'):
            port_config(tmp_path / 'lazy.py')

    def test_architectures(self):
        with pytest.raises(ConfigError, match='no weights are released .*--weights FILE, or --from-scratch'):
            port_config(RETINA, 'fishnext150')
        with pytest.raises(ConfigError, match="arch = 'fishnet1' is not a FishNet"):
            port_config(RETINA, 'fishnet1')
        with pytest.raises(ConfigError, match='not a dict in the notation'):
            parse_arch('{base')


class TestCommand:
    def test_writes_a_short_config_that_is_the_port(self, tmp_path, capsys):
        """On a base with a relative path; the lists of the base, of which a part changes, are written as a whole."""
        base = tmp_path / 'in' / 'base.py'
        base.parent.mkdir()
        base.write_text(read_base(DYHEAD).config.pretty_text)
        out = tmp_path / 'out' / 'mine.py'
        arch = "{'base': 'fishnet150', 'width': 0.5}"
        run_command('port', [str(base), '--arch', arch, '--from-scratch', '-o', str(out)])
        printed = capsys.readouterr().out
        assert 'model.neck.0.in_channels = [160, 416, 800, 1056]' in printed and 'written: ' in printed
        text = out.read_text()
        assert "_base_ = '../in/base.py'" in text and text.count('\n') < 50
        assert Config.fromfile(out).to_dict() == port_config(base, parse_arch(arch), scratch=True).config().to_dict()

    def test_keeps_the_name_of_a_package(self, tmp_path):
        out = tmp_path / 'mine.py'
        run_command('port', [RETINA, '--weights', 'fishnet150-imagenet-cosine', '--output', str(out)])
        assert f"_base_ = '{RETINA}'" in out.read_text()
        assert 'fishnet://fishnet150-imagenet-cosine' in out.read_text()

    @pytest.mark.parametrize(
        'config', ['mmdet::detr/detr_r50_8xb2-150e_coco.py', 'mmdet::gn+ws/faster-rcnn_r50_fpn_gn-ws-all_1x_coco.py']
    )
    def test_can_be_read(self, config, tmp_path):
        """The first has None where a dict comes, the second a folder that MMEngine does not take in a name."""
        out = tmp_path / 'mine.py'
        run_command('port', [config, '--from-scratch', '--out', str(out)])
        assert Config.fromfile(out).model.backbone.type == 'FishNet'

    def test_overwrites_only_when_asked(self, tmp_path):
        out = tmp_path / 'mine.py'
        out.write_text('mine')
        with pytest.raises(SystemExit, match='--overwrite'):
            run_command('port', [RETINA, '-o', str(out)])
        assert out.read_text() == 'mine'
        run_command('port', [RETINA, '-o', str(out), '--overwrite'])
        assert 'FishNet' in out.read_text()

    def test_never_writes_over_its_base(self, tmp_path):
        base = tmp_path / 'base.py'
        base.write_text(read_base(RETINA).config.pretty_text)
        with pytest.raises(SystemExit, match='is the config itself'):
            run_command('port', [str(base), '-o', str(base), '--overwrite'])
        with pytest.raises(SystemExit, match='either weights or scratch'):
            run_command('port', [str(base), '-o', str(tmp_path / 'a.py'), '--from-scratch', '--weights', 'a.pth'])
        with pytest.raises(SystemExit, match='must end in .py'):
            run_command('port', [str(base), '-o', str(tmp_path / 'a.yaml')])
