"""The one place that knows TRL and the Trainer below it; their versions are pinned, and `rollout_func` is experimental.

Everything above works with plain records: `Example` goes in for fine-tuning, `TokenRecord` for reinforcement learning,
numbers come out through callbacks. What differs from TRL's own behaviour, and why:

* No telemetry, no model card, no printing: the caller reports progress.
* The rows of a training are laid out beforehand in the order in which they are used, so that a resumed training sees
  exactly what an uninterrupted one would have; TRL's samplers restart their shuffle when resumed after an epoch.
* GRPO's passes hold rows that belong together, and run only those that teach: see `grpo.ArrangedGrpo`.
"""

from importlib.util import find_spec

from calmstorm.errors import MissingExtraError

for _package in ("datasets", "trl"):
    if find_spec(_package) is None:
        raise MissingExtraError(_package, "train")
