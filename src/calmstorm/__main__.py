"""`python -m calmstorm` is `calm`: what launchers start, which want a module."""

from calmstorm.cli import main

if __name__ == "__main__":
    main()
