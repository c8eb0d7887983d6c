"""Many numbers an image become two; and how often nearest images are of the same class.

Shapes: N images, F numbers of each.
"""

from collections.abc import Callable, Mapping

import numpy as np

MAX_MAP_IMAGES = 3000  # images of a map: t-SNE's time grows faster than their number
COMPONENTS, NEIGHBOURS, PERPLEXITY = 50, 10, 30


def pca(features: np.ndarray) -> np.ndarray:
    """Principal components.

    Args:
        features: Shape (N, F).

    Returns:
        The two that differ the most, shape (N, 2).
    """
    from sklearn.decomposition import PCA

    return PCA(2, random_state=0).fit_transform(features)


def tsne(features: np.ndarray) -> np.ndarray:
    """t-SNE of 50 principal components: near images stay near.

    Args:
        features: Shape (N, F), at least 3 images.

    Returns:
        Shape (N, 2).

    Source: van der Maaten and Hinton, "Visualizing Data using t-SNE", 2008.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    reduced = PCA(min(COMPONENTS, *features.shape), random_state=0).fit_transform(features)
    perplexity = min(PERPLEXITY, (len(features) - 1) / 3)
    return TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(reduced)


MAPS: Mapping[str, tuple[str, Callable[[np.ndarray], np.ndarray]]] = {
    "tsne": (f"t-SNE of {COMPONENTS} principal components", tsne),
    "pca": ("two principal components", pca),
}


def chosen(count: int, most: int = MAX_MAP_IMAGES) -> np.ndarray:
    """Draw the images of a map, the same every time.

    Returns:
        Their places, in order.

    Example:
        >>> len(chosen(5)), len(chosen(5000))
        (5, 3000)
    """
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))


def neighbours_agree(known: np.ndarray, classes: np.ndarray, asked: np.ndarray, answers: np.ndarray) -> float:
    """Let the nearest images vote.

    Args:
        known: Features of images that vote, shape (N, F).
        classes: Their classes, shape (N,).
        asked: Features of those that are voted on, shape (M, F).
        answers: Their classes, shape (M,).

    Returns:
        The share of those that get their own class, by cosine.

    Example:
        >>> axes = np.eye(2).repeat(10, 0)
        >>> neighbours_agree(axes, np.arange(20) // 10, axes * 3, np.arange(20) // 10)
        1.0
    """
    from sklearn.neighbors import KNeighborsClassifier

    votes = KNeighborsClassifier(min(NEIGHBOURS, len(known)), metric="cosine", algorithm="brute")
    return float(votes.fit(known, classes).score(asked, answers))
