"""`python -m tongqu` is the command line."""

from tongqu.app.cli.main import main

if __name__ == "__main__":
    main()
