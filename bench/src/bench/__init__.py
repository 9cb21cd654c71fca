"""Figures from real runs on this machine, as ratios to what the same machine does without us."""
