"""Studies: plan, compare and describe arms over several seeds."""

from candelabra.study.decisions import best_mean, cheapest_good_enough, share_or_separate

__all__ = ["best_mean", "cheapest_good_enough", "share_or_separate"]
