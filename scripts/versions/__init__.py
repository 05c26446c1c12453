"""What is pinned, and what ours relies on of it: `pins.toml`, locks and `relied.toml` together."""
