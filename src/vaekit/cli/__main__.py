"""`python -m vaekit.cli` is the `vae` command."""

from vaekit.cli import main

if __name__ == "__main__":
    main()
