"""Training: gentle fine-tuning on golden trajectories, then reinforcement learning (paper section 3.3).

`encode` turns trajectories into token ids and labels, `sft` fine-tunes, `grpo` reinforces on the package's one rollout
loop. Only `trl/` knows TRL's internals and only `verl/` verl's; `cpu/` holds what makes a training on a CPU fast.
Everything here needs torch and transformers, which the extras `train` (with TRL) and `verl` both bring; an environment
has one of the two.
"""

import os
from importlib.util import find_spec

from calmstorm.errors import MissingExtraError

for _package in ("torch", "transformers"):
    if find_spec(_package) is None:
        raise MissingExtraError(_package, "train")

# These are read when the packages are imported, so they stand before any import of them.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
