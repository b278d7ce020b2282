"""`python -m jetstream`: the command line, where the script `jetstream` is not on the path."""

from jetstream.cli import main

if __name__ == "__main__":
    main()
