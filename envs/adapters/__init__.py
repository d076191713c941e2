"""Games of other libraries behind our contract, one file an ecosystem."""
