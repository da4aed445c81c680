"""One attempt at one problem: the rollout loop, and the spans, fences and output blocks that it is made of.

`rollout` is the way in; everything that resumes, masks or reads a response uses the modules beside it.
"""

from calmstorm.rollout.loop import CodeRunner, Rollout, rollout
from calmstorm.settings import RolloutLimits

__all__ = ["CodeRunner", "Rollout", "RolloutLimits", "rollout"]
