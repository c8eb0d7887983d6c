"""Completion of `python run.py` and `convgrid` in bash, zsh and fish: eval "$(python run.py -sc install=bash)"."""

import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path

from convgrid.config.composer import find_options
from convgrid.config.hydra_internals import completions
from convgrid.errors import ConfigError

QUERY = re.compile(r"[\w@%+~./:=,-]+")  # what a shell takes without quotes
# Each asks the program that is typed for what may stand at the cursor, one a line: convgrid, python run.py,
# python -m convgrid. Where `python` runs something else, it completes files.
BASH = r"""
_convgrid() {
    local line=${COMP_LINE:0:COMP_POINT} word program IFS=$' \t\n'
    local -a words; read -ra words <<< "$line"
    word=${line##*[[:space:]]}; COMPREPLY=()
    case ${words[0]##*/} in
        python*)
            if [[ ${words[1]} == -m && ${words[2]} == convgrid ]]; then program=("${words[@]:0:3}" run)
            elif [[ -f ${words[1]} ]] && grep -q "convgrid[.]__main__" "${words[1]}"; then program=("${words[@]:0:2}")
            else return; fi ;;
        *) program=("${words[0]}" run) ;;
    esac
    local strip=; [[ $COMP_WORDBREAKS == *=* && $word == *=* ]] && strip=${word%"${word##*[=:]}"}
    local choice; while IFS= read -r choice; do
        [[ $choice == *[=./] ]] || choice+=" "
        COMPREPLY+=("${choice#"$strip"}")
    done < <(COMP_LINE=$line "${program[@]}" -sc query=bash 2>/dev/null)
}
complete -o nospace -o default -F _convgrid convgrid python python3
"""
ZSH = r"""
_convgrid() {
    local -a words_ program choices; words_=(${=LBUFFER})
    case ${words_[1]:t} in
        python*)
            if [[ $words_[2] == -m && $words_[3] == convgrid ]]; then program=($words_[1,3] run)
            elif [[ -f $words_[2] ]] && grep -q "convgrid[.]__main__" $words_[2]; then program=($words_[1,2])
            else _files; return; fi ;;
        *) program=($words_[1] run) ;;
    esac
    choices=(${(f)"$(COMP_LINE=$LBUFFER $program -sc query=zsh 2>/dev/null)"})
    (( $#choices )) && compadd -S '' -- $choices || _files
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _convgrid convgrid python python3
"""
FISH = r"""
function _convgrid
    set -l words (commandline -cpo)
    set -l program $words[1] run
    if string match -q '*python*' $words[1]
        if test "$words[2]" = -m
            set program $words[1..3] run
        else
            set program $words[1..2]
        end
    end
    COMP_LINE=(commandline -cp) $program -sc query=fish 2>/dev/null
end
function _convgrid_here
    set -l words (commandline -cpo)
    test "$words[2] $words[3]" = "-m convgrid"; or grep -q "convgrid[.]__main__" "$words[2]" 2>/dev/null
end
complete -c convgrid -f -a "(_convgrid)"
complete -c python -n _convgrid_here -f -a "(_convgrid)"
complete -c python3 -n _convgrid_here -f -a "(_convgrid)"
"""
SCRIPTS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def shell_completion(words: Sequence[str]) -> int:
    """Print a shell's script, or what may stand at the end of `COMP_LINE`.

    Args:
        words: What was typed behind -sc: install=SHELL, or query=SHELL.

    Returns:
        The exit status.

    Raises:
        ConfigError: If it is neither.
    """
    action, _, shell = "".join(words).partition("=")
    if shell not in SCRIPTS or action not in ("install", "query"):
        raise ConfigError(f"-sc {' '.join(words)} is unknown. Use -sc install=SHELL: {', '.join(SCRIPTS)}.")
    for line in [SCRIPTS[shell].strip()] if action == "install" else complete(os.environ.get("COMP_LINE", "")):
        print(line)
    return 0


def complete(line: str) -> list[str]:
    """Say what may stand at the end of a command line: a command, a flag, a group, an option or a key.

    Args:
        line: All of it, up to the cursor.

    Returns:
        Whole words, sorted.

    Example:
        >>> complete("convgrid sw")
        ['sweeps']
        >>> complete("python run.py optimizer=ada")
        ['optimizer=adadelta', 'optimizer=adagrad', 'optimizer=adam', 'optimizer=adamax']
    """
    from convgrid.cli.parser import COMMANDS, flags_of

    words = line.split() if line[-1:].strip() else [*line.split(), ""]
    if re.fullmatch(r"python[\d.]*", Path(words[0]).name):
        words = words[2:] if words[1:2] == ["-m"] else words[1:]
    if Path(words[0]).suffix == ".py":
        words[:1] = ["convgrid", "run"]
    *before, word = words[1:]
    if not before:
        found = [*COMMANDS]
    elif before[0] not in ("run", "preview"):
        found = flags_of(before[0])
    else:
        found = _overrides(before[1:], word)
    return sorted(each for each in {*found} if each.startswith(word) and QUERY.fullmatch(each))


def _overrides(before: Sequence[str], word: str) -> list[str]:
    """What Hydra knows, also of the user's own options; nothing where what stands before is wrong."""
    folders = [after for flag, after in itertools.pairwise(before) if flag in ("--config-dir", "-cd")]
    try:
        return completions(find_options(folders[-1] if folders else None), "config", " ".join([*before, word]))
    except (Exception, SystemExit):  # whatever Hydra raises of half a line
        return []
