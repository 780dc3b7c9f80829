"""What the product does, a noun a file. Plain values in, entities out, `errors.*` raised."""
