"""Studies: comparisons of arms over seeds, and the page that they end in."""

from candelabra.study.decisions import best_mean, cheapest_good_enough, share_or_separate

__all__ = ["best_mean", "cheapest_good_enough", "share_or_separate"]
