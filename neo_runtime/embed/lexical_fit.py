"""Fits word vectors on a catalog: TF-IDF over words and five-letter groups, cut to `dimension` by an SVD.

A text's vector is a sum over its words, so what the groups taught is folded into one vector per word and the
groups themselves need not be kept.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from neo_runtime.embed.sparse import Matrix, SparseRows, right_singular_vectors
from neo_runtime.embed.words import grams, words

# Weight of a word's letter groups together against the word itself.
_GRAM_WEIGHT = 2.0


def fit_word_vectors(
    texts: Sequence[str], dimension: int, seed: int, words_max: int
) -> tuple[list[str], Matrix, Matrix]:
    """Words (sorted), their vectors [words, dimension] and the mean unit vector [dimension] of the texts."""
    counted = [Counter(words(text)) for text in texts]
    vocabulary = _vocabulary(counted, words_max)
    number = {word: row for row, word in enumerate(vocabulary)}
    rows = [{number[w]: term_weight(n) for w, n in count.items() if w in number} for count in counted]
    rows = [row for row in rows if row]
    if not rows:
        return [], np.zeros((0, dimension), np.float32), np.eye(1, dimension, dtype=np.float32)[0]
    features, feature_count = _features(vocabulary, rows)
    norms = _row_norms(rows, features)
    documents = SparseRows.build([{w: v / norms[i] for w, v in row.items()} for i, row in enumerate(rows)])
    documents_back, features_back = documents.transpose(), features.transpose()
    axes = right_singular_vectors(
        lambda v: documents.dot(features.dot(v)),
        lambda u: features_back.dot(documents_back.dot(u)),
        (len(rows), feature_count),
        dimension,
        seed,
    )
    vectors = _balanced(features.dot(axes))
    return vocabulary, vectors, _mean_direction(documents.dot(vectors))


def term_weight(count: int) -> float:
    """A word said twice counts more than once, not twice."""
    return 1.0 + math.log(count)


def _vocabulary(counted: Sequence[Counter[str]], words_max: int) -> list[str]:
    """The words of most texts, at most `words_max`, sorted; ties go by the alphabet."""
    document_count = Counter(word for count in counted for word in count)
    return sorted(sorted(document_count, key=lambda word: (-document_count[word], word))[:words_max])


def _features(vocabulary: Sequence[str], rows: Sequence[dict[int, float]]) -> tuple[SparseRows, int]:
    """IDF-weighted features of every word: itself (the first columns) and its letter groups."""
    columns: dict[str, int] = {}
    parts = [[columns.setdefault(g, len(vocabulary) + len(columns)) for g in grams(w)] for w in vocabulary]
    seen = Counter(c for row in rows for c in {c for w in row for c in (w, *parts[w])})
    inverse = {c: math.log((1 + len(rows)) / (1 + n)) + 1.0 for c, n in seen.items()}
    weighted = [
        {w: inverse[w]} | {c: inverse[c] * _GRAM_WEIGHT / math.sqrt(len(part)) for c in part}
        for w, part in enumerate(parts)
    ]
    return SparseRows.build(weighted), len(vocabulary) + len(columns)


def _row_norms(rows: Sequence[dict[int, float]], features: SparseRows) -> list[float]:
    """Length of each text's feature vector, as if no two of its words shared a letter group."""
    squares = np.add.reduceat(features.values**2, features.starts[:-1])
    return [math.sqrt(sum(v * v * squares[w] for w, v in row.items())) for row in rows]


def _balanced(vectors: Matrix) -> Matrix:
    """Takes the square root of each word's length, [words, dimension].

    The SVD makes rare words short and frequent words long, so that the frequent ones decide a text. The square root
    found more items of the same category than any other power, with 64 to 256 dimensions.
    """
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return np.asarray(vectors / np.sqrt(lengths), np.float32)


def _mean_direction(vectors: Matrix) -> Matrix:
    """Unit vector [dimension] towards the middle of the unit vectors of all texts."""
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    mean = (vectors / lengths).mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean), np.float32)
