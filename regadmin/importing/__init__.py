"""Reading what other programs know of users, groups and rules. Each reader makes a plan; nothing is changed here."""
