"""`python -m graildient` is the command line."""

from graildient.cli import main

main()
