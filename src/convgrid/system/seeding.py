"""Random draws are keyed by (seed, purpose, epoch), never taken from global state."""

import hashlib


def derive(seed: int, purpose: str, epoch: int = 0) -> int:
    """Derive the seed of one generator: the first 63 bits of sha256("seed/purpose/epoch").

    Args:
        seed: The trial's `seed`.
        purpose: What is drawn, such as "shuffle".
        epoch: Counted from 0.

    Returns:
        A seed for `torch.Generator.manual_seed`.

    Example:
        >>> derive(0, "shuffle", 1) != derive(0, "shuffle", 2)
        True
    """
    digest = hashlib.sha256(f"{seed}/{purpose}/{epoch}".encode()).digest()
    return int.from_bytes(digest[:8]) >> 1
