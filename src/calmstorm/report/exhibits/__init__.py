"""The paper's tables and figures from runs: tables 1 and 2, figures 2, 4, 5, 6 and 7."""
