"""The real core, runtime and ledger under a seeded scheduler on virtual time: a seed is a schedule."""
