"""Checks of a command line before Hydra composes it: groups, options, keys, types and values, all mistakes at once.

Hydra itself stops at the first mistake, takes `+optimizer.momentun=0.9` and `arch.m=abc` without a word, and wants a
second pair of quotes around a pattern.
"""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from convgrid.config.composer import Composer, find_options
from convgrid.config.counting import forget_counted
from convgrid.config.grids import Grid
from convgrid.config.hydra_internals import flags_parser
from convgrid.config.line import CommandLine, as_errors, for_hydra
from convgrid.config.overrides import quoted
from convgrid.config.secrets import secrets_kept
from convgrid.config.settings import Settings
from convgrid.config.steps.keys import check_keys, wrong_in_experiments
from convgrid.config.steps.options import check_options
from convgrid.config.steps.parse import parse
from convgrid.config.steps.values import Composed, check_composed, compose_unchecked, tells_all_values
from convgrid.errors import ConfigError, refuse
from convgrid.network.plan import Plan

OUR_SWEEPER = "hydra_plugins.convgrid_sweeper.ConvgridSweeper"


@dataclass(frozen=True)
class Command:
    """A command line without mistakes.

    Args:
        argv: As typed, for Hydra: flags first, and quotes around free text.
        arguments: The overrides among them.
        composer: Has composed already what the overrides choose.
        is_sweep: Whether `-m` was typed, or an experiment that is a sweep.
        grids: Of a sweep: the overrides of each grid, as they were parsed; one grid where there is no `sweep.union`.
        settings: What the config says, of a sweep less what is swept; None where Hydra has the word: more is asked of
            it than to compose one config.
        plan: Of a single run, as far as the config tells; None of a sweep, and of a resumed run, which is stored.
    """

    argv: list[str]
    arguments: list[str]
    composer: Composer
    is_sweep: bool = False
    grids: Sequence[Grid] = ()
    settings: Settings | None = None
    plan: Plan | None = None


@secrets_kept()
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
    forget_counted()
    args = _arguments(argv)
    texts = [quoted(text, multirun=args.multirun) for text in args.overrides]
    trains = not (args.help or args.hydra_help or args.shell_completion or args.info or args.cfg)
    composer = Composer(args.config_name or "config", find_options(args.config_dir))
    left = list(args.overrides)
    flags = [word for word in argv if not (left and word == left[0] and left.pop(0) is not None)]
    if not trains and (args.shell_completion or not texts):  # half a line, or nothing that could be wrong
        return Command([*flags, *texts], texts, composer)
    line, composed = _checked(texts, composer, multirun=args.multirun, trains=trains)
    if composed is None:
        texts = for_hydra(line)
        return Command([*flags, *texts], texts, composer, line.multirun)
    grids = [(*line.common, *member) for member in line.members] if line.multirun else ()
    return Command([*flags, *texts], texts, composer, line.multirun, grids, composed.settings, composed.plan)


def _checked(
    texts: Sequence[str], composer: Composer, *, multirun: bool, trains: bool
) -> tuple[CommandLine, Composed | None]:
    """Take all steps, and tell the mistakes of all; nothing is composed where the config is only shown."""
    line, mistakes = parse(texts, composer, multirun=multirun)
    line, wrong = check_options(line, composer, trains=trains)
    mistakes, composed = [*mistakes, *wrong], None
    try:
        if line.hydra:
            composer.compose(line.hydra)
        line, wrong = check_keys(line, composer)
        in_files = as_errors(wrong_in_experiments(line, composer))
        mistakes += [*wrong, *in_files]
        if trains and not in_files and tells_all_values(line):
            composed, wrong = check_composed(line, composer)
            mistakes += wrong
    except ConfigError as error:  # an option's file that cannot be used
        mistakes.append(error)
    refuse(mistakes)
    if not trains or line.hydra:
        return line, None
    composed = composed or compose_unchecked(line, composer)
    ours = not line.multirun or composed.sweeper == OUR_SWEEPER
    return line, composed if ours else None


def _arguments(argv: Sequence[str]) -> Namespace:
    """Hydra's own flags, which may stand anywhere among the overrides."""
    parser = flags_parser()
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
        raise ConfigError(f"{' and '.join(given)} cannot be used together. Leave out all but one.")
    return args


def _refuse(message: str) -> NoReturn:
    raise ConfigError(f"{message}. See --hydra-help for the flags.")
