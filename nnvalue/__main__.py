"""`python -m nnvalue`."""

from nnvalue.cli.main import main

main()
