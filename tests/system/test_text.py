"""Text of others must neither steer a terminal nor run in a spreadsheet."""

import csv
import io
import json

import pytest
from rich.console import Console

from convgrid.cli.exit import exit_status
from convgrid.errors import ConfigError
from convgrid.model.predict import table_row
from convgrid.system.text import cell, escaped, escaped_json, one_line
from convgrid.terminal import printable, show_result


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat\x1b]0;owned\x07", r"cat\x1b]0;owned\x07"),
        ("\x9b31m", r"\x9b31m"),
        ("a\rb\bc", r"a\rb\x08c"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("Gr\udcfc\udcdfe", r"Gr\xfc\xdfe"),
        ("two\n\tlines, größe, 猫", "two\n\tlines, größe, 猫"),
    ],
)
def test_control_characters_are_written_out(text: str, expected: str) -> None:
    assert escaped(text) == expected


def test_a_terminal_gets_no_escape_code(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise ConfigError("class \x1b[2J cannot be read")

    assert exit_status(fail) == 1
    assert capsys.readouterr().err == "ConfigError: class \\x1b[2J cannot be read\n"
    file = io.StringIO()
    show_result({"folder": "runs/\x1b[31m"}, Console(file=file))
    assert file.getvalue() == "folder  runs/\\x1b[31m\n"
    assert printable("\x1b", Console(file=file)) == "\\x1b"


@pytest.mark.parametrize("text", ["=cmd|'/C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\t=1", "-"])
def test_a_formula_is_a_text_in_a_spreadsheet(text: str) -> None:
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("value", [-0.5, 3, None, "-0.5", "+1e-3", "-inf", "cat", "a=b", ""])
def test_what_is_no_formula_stays(value: object) -> None:
    assert cell(value) == value


def test_a_row_of_predictions_keeps_its_numbers() -> None:
    file = io.StringIO()
    csv.writer(file).writerow(table_row("=a.png", "@cat", [-0.5, 1e-7]))
    assert next(csv.reader([file.getvalue()])) == ["'=a.png", "'@cat", "-0.5", "1e-07"]


def test_a_cell_has_no_control_characters() -> None:
    assert cell("=\x1b[2J") == "'=\\x1b[2J"
    assert cell("\x1b]0;owned\x07") == "\\x1b]0;owned\\x07"


def test_a_name_in_a_line_makes_no_line_of_its_own() -> None:
    assert one_line("cat\nloss\t0.0\r\x1b[2J") == r"cat\nloss\t0.0\r\x1b[2J"


def test_json_without_control_characters_says_the_same() -> None:
    rows = [{"file": "\x1b[2J \x9b31m caf\udce9 größe \u202e"}]
    text = escaped_json(json.dumps(rows, ensure_ascii=False))
    assert text.encode("utf-8") == rb'[{"file": "\u001b[2J \u009b31m caf\udce9 gr' + "öße ".encode() + rb'\u202e"}]'
    assert json.loads(text) == rows
