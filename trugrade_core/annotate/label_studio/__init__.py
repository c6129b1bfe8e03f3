"""Label Studio as the team's other place to label: its configs, its results, and keeping both sides in step."""
