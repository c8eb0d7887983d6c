"""Where the images of a part come from: what tells copies, groups and files apart, in order."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True, eq=False)
class Origins:
    """Of each image of a part its name, its content, and its group.

    Args:
        names: For messages, such as the file's below the data's folder.
        contents: Hashes, equal where two images are copies, shape (B,), int64.
        groups: Of images that belong together, such as the patient, shape (B,), texts; None where none are given.
    """

    names: np.ndarray
    contents: np.ndarray
    groups: np.ndarray | None = None

    @classmethod
    def of(cls, names: Sequence[str], contents: Sequence[Hashable], groups: Sequence[str] | None = None) -> Self:
        """Keep them as arrays.

        Args:
            contents: Equal where two images are copies.
        """
        hashes = np.fromiter(map(hash, contents), np.int64, len(contents))
        return cls(np.array(names, object), hashes, None if groups is None else np.array(groups, object))

    def take(self, rows: np.ndarray | slice) -> Origins:
        """Keep some of them.

        Example:
            >>> Origins.of(["a", "b"], [1, 2]).take(np.array([1])).names.tolist()
            ['b']
        """
        groups = None if self.groups is None else self.groups[rows]
        return Origins(self.names[rows], self.contents[rows], groups)

    def join(self, other: Origins) -> Origins:
        """Put those of another part behind."""
        groups = None
        if self.groups is not None and other.groups is not None:
            groups = np.concatenate([self.groups, other.groups])
        names, contents = (self.names, other.names), (self.contents, other.contents)
        return Origins(np.concatenate(names), np.concatenate(contents), groups)
