"""The games: contracts, registry, batching, adapters and native rules. Imports nothing of ours."""
