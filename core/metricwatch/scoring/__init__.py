"""What is odd about samples, from any family, as one score that keeps a promise.

Families give streams of evidence, each in units of its own. Here each becomes a rarity by its own
past (`tails`), is forgiven what recurs at its time of day (`recurrence`), and votes on two time
scales (`combining`), neither of which goes on about what is over (`scales`); how often a week
ordinary samples get so far (`rates`) is what a budget of false alarms is held against
(`threshold`). Whether all this is still true is another matter (`drift`).
"""

from metricwatch.scoring.drift import Drift
from metricwatch.scoring.scored import Scored
from metricwatch.scoring.scoring import Scoring
from metricwatch.scoring.threshold import threshold

__all__ = ["Drift", "Scored", "Scoring", "threshold"]
