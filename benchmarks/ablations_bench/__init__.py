"""What each ablation measures of a tree, and what it needs for that."""
