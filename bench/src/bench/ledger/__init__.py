"""The ledger alone: how many postings it keeps, how fast it answers, and what it costs when it has grown."""
