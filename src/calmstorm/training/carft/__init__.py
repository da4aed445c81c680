"""CARFT (arXiv 2508.15868): a contrastive loss between annotated and rolled-out trajectories, beside the policy's.

Plain torch, for both engines. `annotated` reads trajectories that problems are annotated with, `views` says which sets
of written tokens are embedded, `head` embeds them, `losses` compares the embeddings. What an engine does with them:

    1. rollouts, and the annotated trajectory of each of their problems, are run through the model without gradient;
       `ContrastiveHead` embeds each view of each row
    2. the embeddings of all processes are gathered, and `cotangents` gives the loss and dL/dz of every view
    3. each micro-batch of the update adds `coefficient * (z * dL/dz).sum()` of the views in it to its loss

The gradient is that of the loss over all rows of all processes, the denominators' part included, as long as the weights
stay the same from 1 to 3: one update per batch of rollouts. The head is dropped when the model is exported.
"""
