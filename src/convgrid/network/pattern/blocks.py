"""Definitions before a pattern: `basic(c, s) = SUM[CONV(c, stride=s) -> NORM | SKIP] -> RELU;`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from convgrid.network.pattern.tokens import Token


@dataclass(frozen=True)
class Block:
    """A definition: text that stands wherever its name does."""

    name: Token
    parameters: tuple[str, ...]  # in lower case
    body: tuple[Token, ...]
    earlier: "Mapping[str, Block]"  # those that it may use

    def written_out(self, values: Sequence[Sequence[Token]]) -> list[Token]:
        """Put values in the places of the parameters; `kernel=` stays the name of an argument."""
        given = dict(zip(self.parameters, values, strict=True))
        found: list[Token] = []
        for token, after in zip(self.body, (*self.body[1:], None), strict=True):
            names_argument = after is not None and after.kind == "="
            found += given.get(token.text.lower(), [token]) if token.kind == "name" and not names_argument else [token]
        return found


@dataclass
class Book:
    """What the parsers of one text share: its definitions, which were used, and how many layers they came to."""

    blocks: dict[str, Block] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    num_layers: int = 0

    def unused(self) -> Iterator[Block]:
        """Those that the pattern never names."""
        return (block for name, block in self.blocks.items() if name not in self.used)
