"""All private names of argparse that convgrid uses."""

from argparse import ArgumentParser


def option_strings(parser: ArgumentParser) -> list[str]:
    """A parser's flags, such as "--format" and "-h"; to the public they are shown in a help's text only."""
    return list(parser._option_string_actions)
