"""Others who know people: each source of identity behind the contract of `source.Source`."""
