"""What makes a training on a CPU fast: attention in blocks, and prompts that are run once for a whole group."""
