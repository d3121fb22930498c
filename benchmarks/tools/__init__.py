"""What several lines share: timing, statistics, a cache of rivals' scores."""
