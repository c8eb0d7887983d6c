"""The published networks of conf/arch: each plan has the published counts, each module what its plan says."""

from collections.abc import Callable

import pytest
import torch

from case_studies import OF_THE_COURSE, studies
from convgrid.config import CONF, Settings, architecture
from convgrid.network.build import build
from convgrid.network.plan import plan
from convgrid.network.planned import PlannedLayer

SettingsMaker = Callable[..., Settings]

# Parameters and multiply-adds by hand: the layers of LeNet-5 as the paper's section II.B counts them, those of ZFNet
# with the sides of the paper's figure 3.
LENET5 = (
    156 + 16 * (6 * 25 + 1) + 48_120 + 10_164 + 10 * (84 + 1),
    6 * 25 * 28**2 + 16 * 6 * 25 * 10**2 + (48_120 - 120) + (10_164 - 84) + 10 * 84,
)
ZFNET_KERNELS = (96 * 3 * 49, 256 * 96 * 25, 384 * 256 * 9, 384 * 384 * 9, 256 * 384 * 9)
ZFNET_UNITS = (4096 * 256 * 6**2, 4096**2, 1000 * 4096)
ZFNET = (
    sum(ZFNET_KERNELS) + sum(ZFNET_UNITS) + 96 + 256 + 384 + 384 + 256 + 4096 + 4096 + 1000,
    sum(size * side**2 for size, side in zip(ZFNET_KERNELS, (110, 26, 13, 13, 13), strict=True)) + sum(ZFNET_UNITS),
)
HEAD_OF_SQUEEZENET = (
    (13**2 - 1) * 512 * 1000
)  # what its 1x1 convolution costs before the average more than FC behind it
PUBLISHED = {
    "lenet5": LENET5,
    # Caffe's bvlc_alexnet; Sze et al., "Efficient Processing of Deep Neural Networks", 2017, table II: 61 M and 724 M
    "alexnet": (60_965_224, 724_406_816),
    "zfnet": ZFNET,
    # torchvision 0.29.1: parameters as in its meta["num_params"]; multiply-adds of each Conv2d and Linear in its
    # modules, counted by hooks, which are its meta["_ops"] to their last digits, in billions: 15.47, 19.632, 1.498, ...
    "vgg16": (138_357_544, 15_470_264_320),
    "vgg19": (143_667_240, 19_632_062_464),
    "googlenet": (6_624_904, 1_498_376_192),
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet34": (21_797_672, 3_663_761_408),
    "resnet50": (25_557_032, 4_089_184_256),
    "resnet101": (44_549_160, 7_801_405_440),
    "squeezenet1_0": (1_248_424, 818_924_576 - HEAD_OF_SQUEEZENET),
    "squeezenet1_1": (1_235_496, 349_151_936 - HEAD_OF_SQUEEZENET),
    "mobilenet_v2": (3_504_872, 300_774_272),
    "densenet121": (7_978_856, 2_834_161_664),
    "efficientnet_b0": (5_288_548, 385_814_752),
    # timm 1.0.31, counted alike: mobilenetv1_100 (the paper: 4.2 M, 569 M) and tf_efficientnet_lite0
    "mobilenet_v1": (4_231_976, 568_740_352),
    "efficientnet_lite0": (4_652_008, 385_187_552),
    # the paper's table 6: 0.27, 0.46, 0.66, 0.85 M; He et al., "Soft Filter Pruning", 2018: 4.06e7, 6.89e7, 1.25e8
    "resnet20": (269_722, 40_551_040),
    "resnet32": (464_154, 68_862_592),
    "resnet44": (658_586, 97_174_144),
    "resnet56": (853_018, 125_485_696),
}
# Layers with weights on the longest way, as the names and papers say: MobileNet's 28 and GoogLeNet's 22 layers.
DEPTHS = {
    "lenet5": 5, "alexnet": 8, "zfnet": 8, "vgg16": 16, "vgg19": 19, "googlenet": 22, "resnet18": 18, "resnet34": 34,
    "resnet50": 50, "resnet101": 101, "resnet20": 20, "resnet32": 32, "resnet44": 44, "resnet56": 56,
    "squeezenet1_0": 18, "squeezenet1_1": 18, "densenet121": 121, "mobilenet_v1": 28, "mobilenet_v2": 53,
    "efficientnet_lite0": 50, "efficientnet_b0": 50 + 2 * 16,  # 16 squeezes, each with two layers
}  # fmt: skip
# Araujo et al., "Computing Receptive Fields of Convolutional Neural Networks", Distill, 2019, for those built alike.
VIEWS = {"alexnet": 195, "vgg16": 212, "mobilenet_v1": 315}


def test_every_network_has_its_published_counts() -> None:
    files = {path.stem for path in CONF.glob("arch/*.yaml")}
    assert files - OF_THE_COURSE == set(PUBLISHED)
    assert files > OF_THE_COURSE
    assert {name: (study.plan.parameters, study.plan.multiply_adds) for name, study in studies().items()} == PUBLISHED
    assert {name: study.counts for name, study in studies().items()} == PUBLISHED  # and its file says so


def test_every_network_is_as_deep_as_its_name_and_sees_as_far_as_published() -> None:
    assert {name: study.depth for name, study in studies().items()} == DEPTHS
    assert {name: studies()[name].view for name in VIEWS} == VIEWS


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_module_has_the_parameters_of_its_plan_and_makes_its_scores(name: str) -> None:
    study = studies()[name]
    with torch.device("meta"):
        network = build(study.plan, init="torch").eval()
        assert network(torch.zeros(2, *study.shape)).shape == (2, study.classes)
    assert sum(weight.numel() for weight in network.parameters()) == study.counts[0]


def layers(settings: Settings) -> list[PlannedLayer]:
    return [*plan(architecture(settings), (3, 32, 32), 10).layers]


def test_a_network_is_complete_by_itself(settings: SettingsMaker) -> None:
    plain = settings("arch=resnet18")
    norm, conv = plain.values["layer"]["norm"], plain.values["layer"]["conv"]
    assert (plain.choices["layer/norm"], norm["eps"], norm["momentum"]) == ("batch", 1e-5, 0.1)  # nn.BatchNorm2d's
    assert conv["bias"] is False
    assert plain.arch.init == "he_normal"
    alexnet = settings("arch=alexnet").values["layer"]["norm"]
    assert (alexnet["size"], alexnet["k"], alexnet["alpha"] / alexnet["size"], alexnet["beta"]) == (5, 2, 1e-4, 0.75)
    assert settings("arch=lenet5").choices["activation"] == "tanh"
    assert settings("arch=lenet5").choices["layer/pool"] == "average"
    lite = settings("arch=efficientnet_lite0").values["layer"]["norm"]
    assert (lite["eps"], lite["momentum"]) == (1e-3, pytest.approx(1 - 0.99))  # Keras'
    norms = [layer.component.options for layer in layers(settings("arch=googlenet")) if layer.kind == "NORM"]
    assert {options["eps"] for options in norms} == {1e-3}


def test_a_network_made_of_another_has_all_that_it_chooses(settings: SettingsMaker) -> None:
    for name in ("resnet32", "resnet34", "resnet101"):
        made = settings(f"arch={name}")
        assert (made.choices["layer/norm"], made.choices["layer/conv"]) == ("batch", "no_bias")


def test_what_is_typed_wins(settings: SettingsMaker) -> None:
    made = settings("arch=resnet32", "layer/norm=group", "activation=selu", "layer.conv.bias=true", "arch.n=0")
    names = [layer.name for layer in layers(made)]
    assert made.choices["layer/norm"] == "group"
    assert names[:4] == ["conv1", "norm1", "selu1", "conv2"]
    assert layers(made)[1].component.target == "convgrid.layers.group_norm"
    assert layers(made)[0].parameters == 16 * 27 + 16
    assert sum(name.startswith("conv") for name in names) == 7
    assert settings("layer/norm=none", "arch=vgg16").choices["layer/norm"] == "none"


def test_other_architectures_keep_their_layers(settings: SettingsMaker) -> None:
    plain = settings("arch=convnet")
    assert (plain.choices["layer/norm"], plain.choices["layer/conv"], plain.choices["activation"]) == (
        "none", "conv", "relu",
    )  # fmt: skip


def test_vgg_with_norms_is_torchvisions_vgg_bn(settings: SettingsMaker) -> None:
    made = plan(architecture(settings("arch=vgg16", "layer/norm=batch")), (3, 224, 224), 1000)
    assert made.parameters == 138_365_992  # torchvision 0.29.1, vgg16_bn
