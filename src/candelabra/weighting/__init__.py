"""Combine the losses of several tasks into one, a file for each family of schemes."""

from candelabra.weighting.dwa import Dwa
from candelabra.weighting.end_of_step import GradientWeighting
from candelabra.weighting.famo import Famo
from candelabra.weighting.fixed import Fixed
from candelabra.weighting.geometric import Geometric
from candelabra.weighting.gradnorm import GradNorm
from candelabra.weighting.gram import aligned, cagrad, imtl_g, mgda, nash, pcgrad, upgrad
from candelabra.weighting.log_classes import LogClasses
from candelabra.weighting.random_weights import Random
from candelabra.weighting.uncertainty import Uncertainty

__all__ = [
    "Dwa",
    "Famo",
    "Fixed",
    "Geometric",
    "GradNorm",
    "GradientWeighting",
    "LogClasses",
    "Random",
    "Uncertainty",
    "aligned",
    "cagrad",
    "imtl_g",
    "mgda",
    "nash",
    "pcgrad",
    "upgrad",
]
