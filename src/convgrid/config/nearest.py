"""What a mistyped name probably means."""

import difflib
from collections.abc import Collection


def nearest_option(word: str, options: Collection[str]) -> str:
    """Suggest an option: one spelt alike, or one that the word abbreviates.

    Returns:
        A sentence after a space; "" where nothing is near.

    Example:
        >>> nearest_option("mse", ["mean_squared_error", "hinge"])
        ' Did you mean mean_squared_error?'
    """
    word = word.lower().replace("-", "_")
    initials = [option for option in options if word == "".join(part[0] for part in option.split("_"))]
    return _ask([*initials, *difflib.get_close_matches(word, options, n=1)])


def nearest_key(key: str, keys: Collection[str]) -> str:
    """Suggest a key or group: one of the same place and alike, else one of the same last part, else one alike.

    Args:
        key: As typed, with dots or slashes.

    Returns:
        A sentence after a space; "" where nothing is near.

    Example:
        >>> nearest_key("optimizer.momentun", ["optimizer.lr", "optimizer.momentum"])
        ' Did you mean optimizer.momentum?'
        >>> nearest_key("lr", ["optimizer.lr"])
        ' Did you mean optimizer.lr?'
    """
    dotted = key.replace("/", ".")
    place, _, last = dotted.rpartition(".")
    beside = {name.rpartition(".")[2]: name for name in keys if name.rpartition(".")[0] == place}
    alike = [beside[name] for name in difflib.get_close_matches(last, beside, n=1)]
    same_last = [name for name in keys if name.rpartition(".")[2] == last]
    same = [name for name in keys if name.replace("/", ".") == dotted]
    return _ask([*same, *alike, *same_last, *difflib.get_close_matches(dotted, keys, n=1, cutoff=0.8)])


def _ask(names: Collection[str]) -> str:
    return f" Did you mean {next(iter(names))}?" if names else ""
