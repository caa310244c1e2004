"""Ground floor: the nouns of the field, with numpy and the standard library only."""
