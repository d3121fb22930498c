"""What became of answers: a ledger of them, and the feedback that is joined to it."""
