"""Where the shards of a plan are worked off."""
