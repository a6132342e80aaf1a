"""Metrics, as torchmetrics objects that accumulate over batches and processes."""

from candelabra.metrics.binary_pairs import BinaryPairMetrics
from candelabra.metrics.classification import ClassificationMetrics
from candelabra.metrics.multilabel import MultiLabelMetrics
from candelabra.metrics.neighbours import NeighbourMetrics
from candelabra.metrics.regression import RegressionMetrics
from candelabra.metrics.retrieval import RetrievalMetrics
from candelabra.metrics.similarity import SimilarityMetrics
from candelabra.metrics.spans import SpanMetrics
from candelabra.metrics.triplets import TripletMetrics

__all__ = [
    "BinaryPairMetrics",
    "ClassificationMetrics",
    "MultiLabelMetrics",
    "NeighbourMetrics",
    "RegressionMetrics",
    "RetrievalMetrics",
    "SimilarityMetrics",
    "SpanMetrics",
    "TripletMetrics",
]
