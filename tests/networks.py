"""What tests of networks that branch share: the groups as conf/ states them, and random patterns with joins."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from convgrid.component import Component
from convgrid.network.plan import Architecture, Plan, plan
from convgrid.network.planned import PATTERN_ACTIVATIONS, Groups

CONV: dict[str, Any] = {
    "kernel_size": 3, "stride": 1, "padding": "same", "dilation": 1, "groups": 1, "bias": True,
}  # fmt: skip
POOL: dict[str, Any] = {"kernel_size": 2, "stride": None, "padding": 0, "ceil_mode": False}
ACTIVATIONS = {
    **{name: Component(name, f"convgrid.activations.{name}") for name in ("relu", "tanh", "sigmoid", "linear")},
    **PATTERN_ACTIVATIONS,
}
POOLS = {name: Component(name, f"convgrid.layers.{name}_pool", POOL) for name in ("max", "average", "l2")}
NORMS = {
    "batch": Component("batch", "convgrid.layers.batch_norm", {"momentum": 0.1, "eps": 1e-5}),
    "group": Component("group", "convgrid.layers.group_norm", {"num_groups": 8, "eps": 1e-5}),
    "local_response": Component(
        "local_response", "convgrid.layers.local_response", {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 1.0}
    ),
}


def groups(*, norm: str | None = None, bias: bool = True, depthwise: bool = False, **sizes: Any) -> Groups:
    """As the options of the groups say."""
    conv = CONV | {"bias": bias} | ({"groups": "depthwise"} if depthwise else {})
    return Groups(
        Component("conv", "convgrid.layers.conv", conv),
        ACTIVATIONS["relu"],
        ACTIVATIONS,
        pool=POOLS["max"],
        norm=NORMS[norm] if norm else None,
        dropout=Component("plain", "convgrid.layers.Dropout", {"p": 0.25}),
        pools=POOLS,
        norms=NORMS,
        **sizes,
    )


def lay_out(pattern: str, shape: Sequence[int] = (3, 16, 16), outputs: int = 10, **options: Any) -> Plan:
    """Plan a pattern; n, m, k are counts, all else goes to the groups."""
    counts = {name: options.pop(name) for name in "nmk" if name in options}
    return plan(Architecture(pattern, groups(**options), **counts), shape, outputs)


@dataclass
class Random:
    """Draws patterns whose shapes meet; it follows the channels, so that SUM and MUL get what they need."""

    draws: random.Random

    def pattern(self) -> str:
        """A few definitions, elements over a volume, perhaps a vector, an output."""
        size = self.draws.choice([1, 3])
        definitions = (
            f"Twice(c, s) = CONV(c, stride=s, kernel={size}) -> norm? -> relu -> CONV(c, kernel={size});\n"
            "res(c, s) = SUM[twice(c, s) -> NORM? | SKIP] -> RELU;\n"
        )
        self.used = False
        body, _ = self.chain(3, 2)
        head = self.draws.choice(
            ["FC", "GAP -> FC", "FC(5) -> SUM[FC(4) -> RELU | FC(4)] -> FC", "[FC -> ACT]*K -> FC"]
        )
        return f"{definitions if self.used else ''}INPUT -> {body} -> {head}"

    def chain(self, channels: int, depth: int) -> tuple[str, int]:
        """One to three elements, and the channels that they end with."""
        parts = []
        for _ in range(self.draws.randint(1, 3)):
            part, channels = self.element(channels, depth)
            parts.append(part)
        return " -> ".join(parts), channels

    def element(self, channels: int, depth: int) -> tuple[str, int]:
        """A layer, a group or a join."""
        kinds = ["layer", "layer", "conv", "down"] + ["sum", "concat", "mul", "group", "block", "pad"] * (depth > 0)
        return getattr(self, f"_{self.draws.choice(kinds)}")(channels, depth)

    def same(self, channels: int, depth: int) -> tuple[str, int]:
        """Elements that keep the sides."""
        makers = [self._layer, self._conv] + [self._sum, self._concat, self._mul] * (depth > 0)
        parts = []
        for _ in range(self.draws.randint(1, 2)):
            part, channels = self.draws.choice(makers)(channels, depth)
            parts.append(part)
        return " -> ".join(parts), channels

    def _layer(self, channels: int, depth: int) -> tuple[str, int]:
        return self.draws.choice(
            ["RELU", "ACT", "NORM?", "DROPOUT(0.5)", "relu6", "NORM(batch, eps=0.001)", "silu",
             "POOL(3, stride=1, padding=1, type=average)"]
        ), channels  # fmt: skip

    def _conv(self, channels: int, depth: int) -> tuple[str, int]:
        filters = self.draws.randint(1, 4)
        return self.draws.choice(
            [(f"CONV({filters}, bias=false)", filters), (f"CONV(x{filters})", filters * channels),
             ("CONV(x1, groups=depthwise)", channels), (f"CONV({filters}, kernel=1)", filters)]
        )  # fmt: skip

    def _down(self, channels: int, depth: int) -> tuple[str, int]:
        return self.draws.choice(
            [("POOL", channels), ("CONV(3, stride=2, padding=1)", 3), ("POOL(2, type=l2)", channels)]
        )

    def _sum(self, channels: int, depth: int) -> tuple[str, int]:
        filters = self.draws.randint(1, 4)
        paths = [
            f"{self.same(channels, depth - 1)[0]} -> CONV({filters}) -> NORM?" for _ in range(self.draws.randint(1, 2))
        ]
        paths += ["SKIP"] * (len(paths) == 1 or self.draws.random() < 0.5)
        self.draws.shuffle(paths)
        return f"SUM[{' | '.join(paths)}]", filters

    def _concat(self, channels: int, depth: int) -> tuple[str, int]:
        made = [self.same(channels, depth - 1) for _ in range(self.draws.randint(1, 3))]
        made += [("SKIP", channels)] * (len(made) == 1 or self.draws.random() < 0.3)
        self.draws.shuffle(made)
        return f"CONCAT[{' | '.join(text for text, _ in made)}]", sum(number for _, number in made)

    def _mul(self, channels: int, depth: int) -> tuple[str, int]:
        scale = f"GAP -> FC(2) -> RELU -> FC({channels}) -> SIGMOID"
        return f"MUL[{' | '.join(self.draws.sample(['SKIP', scale], 2))}]", channels

    def _group(self, channels: int, depth: int) -> tuple[str, int]:
        text, made = self.same(channels, depth - 1)
        if made != channels:
            text, made = f"{text} -> CONV({channels})", channels
        if "MUL" in text or "x" in text:  # their numbers hold for the first turn only
            return text, made
        return f"[{text}]*{self.draws.choice(['N', 'M', '1', '2'])}", made

    def _block(self, channels: int, depth: int) -> tuple[str, int]:
        self.used = True
        filters = self.draws.randint(1, 4)
        return f"res({filters}, {self.draws.choice([1, 2])})", filters

    def _pad(self, channels: int, depth: int) -> tuple[str, int]:
        filters = channels + self.draws.randint(0, 3)
        return f"SUM[CONV({filters}, stride={self.draws.choice([1, 2])}, padding=1) | SKIP(pad)]", filters
