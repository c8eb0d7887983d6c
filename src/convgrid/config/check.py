"""Checks of a command line before Hydra composes it: groups, options, keys, types and values, all mistakes at once.

Hydra itself stops at the first mistake, takes `+optimizer.momentun=0.9` and `arch.m=abc` without a word, and wants a
second pair of quotes around a pattern.
"""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from hydra._internal.utils import get_args_parser
from omegaconf import DictConfig

from convgrid.config.composer import Composer, find_options
from convgrid.config.line import CommandLine
from convgrid.config.overrides import quoted
from convgrid.errors import ConfigError, refuse


@dataclass(frozen=True)
class Command:
    """A command line without mistakes.

    Args:
        argv: As typed, for Hydra: flags first, and quotes around free text.
        arguments: The overrides among them.
        composed: The config with its `hydra` node, of a sweep less what is swept; None where more is asked of Hydra
            than to compose one.
        composer: Has composed already what the overrides choose.
    """

    argv: list[str]
    arguments: list[str]
    composed: DictConfig | None
    composer: Composer


def check(argv: Sequence[str]) -> Command:
    """Find every mistake in a command line.

    Args:
        argv: What was typed after the program's name.

    Returns:
        What is to be done.

    Raises:
        ConvgridError: With a line or more a mistake.

    Example:
        >>> check(["arch.m=3", "arch.pattern=INPUT -> FC"])
        Traceback (most recent call last):
        convgrid.errors.ConfigError: arch.m=3 has no effect: the pattern INPUT -> FC has no M. Leave it out.
    """
    args = _arguments(argv)
    texts = [quoted(text, multirun=args.multirun) for text in args.overrides]
    trains = not (args.help or args.hydra_help or args.shell_completion or args.info or args.cfg)
    composer = Composer(args.config_name or "config", find_options(args.config_dir))
    composed = None
    if trains or (texts and not args.shell_completion):
        line = CommandLine(texts, composer, multirun=args.multirun)
        refuse(line.mistakes(of_values=trains))
        composed = line.composed() if trains else None
        texts = texts if composed else line.for_hydra()
    left = list(args.overrides)
    flags = [word for word in argv if not (left and word == left[0] and left.pop(0) is not None)]
    return Command([*flags, *texts], texts, composed, composer)


def _arguments(argv: Sequence[str]) -> Namespace:
    """Hydra's own flags, which may stand anywhere among the overrides."""
    parser = get_args_parser()
    parser.error = _refuse
    args = parser.parse_intermixed_args(argv)
    if args.config_path is not None:
        raise ConfigError(
            f"--config-path {args.config_path} would replace convgrid's options. Add to them with --config-dir."
        )
    if args.resolve and not (args.cfg or args.help):
        raise ConfigError("--resolve goes with --cfg job, --cfg all or --help.")
    commands = {"--run": args.run, "--multirun": args.multirun, "--cfg": args.cfg, "--info": args.info}
    given = [flag for flag, value in commands.items() if value]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} cannot be together. Leave out all but one.")
    return args


def _refuse(message: str) -> NoReturn:
    raise ConfigError(f"{message}. See --hydra-help for the flags.")
