"""Turn the encoder's output into the answers of one task."""

from candelabra.model.heads.classification import ClassificationHead, MlpHead
from candelabra.model.heads.crf import CrfHead
from candelabra.model.heads.embedding import EmbeddingHead
from candelabra.model.heads.multilabel import MultiLabelHead
from candelabra.model.heads.pair import PairHead
from candelabra.model.heads.regression import RegressionHead
from candelabra.model.heads.tagging import TaggingHead, TaggingMlpHead

__all__ = [
    "ClassificationHead",
    "CrfHead",
    "EmbeddingHead",
    "MlpHead",
    "MultiLabelHead",
    "PairHead",
    "RegressionHead",
    "TaggingHead",
    "TaggingMlpHead",
]
