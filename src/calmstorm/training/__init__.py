"""Training: gentle fine-tuning on golden trajectories, then reinforcement (paper section 3.3), both through TRL.

`encode` turns trajectories into token ids and labels, `sft` fine-tunes, `grpo` reinforces on the package's one rollout
loop. Only `trl_seam` knows TRL's internals. Everything here needs the `train` extra.
"""

from importlib.util import find_spec

from calmstorm.errors import MissingExtraError

for _package in ("torch", "transformers", "datasets", "trl"):
    if find_spec(_package) is None:
        raise MissingExtraError(_package, "train")
