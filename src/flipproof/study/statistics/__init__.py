"""From rows to numbers that can be compared."""
