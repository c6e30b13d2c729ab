"""`python -m ttt_cli` is `ttt`."""

from ttt_cli.main import main

if __name__ == "__main__":
    main()
