"""The lines of the scoreboard, one file each."""
