"""Who may come in, what for, how often, and over which connections."""
