"""Files written and read: atomically, strictly, with every fault named."""
