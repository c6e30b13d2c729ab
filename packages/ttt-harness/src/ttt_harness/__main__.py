"""`python -m ttt_harness` is `ttt-harness`."""

from ttt_harness.main import main

if __name__ == "__main__":
    main()
