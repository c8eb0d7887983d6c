"""A trained run of which a file is damaged: its model is the one that was trained, or a line says why there is none."""

import random
import shutil
from pathlib import Path

import pytest
import torch

from convgrid.errors import ConvgridError, ModelError
from convgrid.model.card import card
from convgrid.model.trained_model import load
from fuzzing import fuzz
from mutations import mutate

FILES = ("config.yaml", "plan.json", "data.json", "environment.json", "run.json", "best.ckpt")


def test_a_damaged_file_makes_no_other_model_and_no_traceback(trained_digits: Path, tmp_path: Path) -> None:
    weights = load(trained_digits).predictor.state_dict()

    def case(draw: random.Random) -> None:
        folder = Path(shutil.copytree(trained_digits, tmp_path / "runs" / "a"))
        name = draw.choice(FILES)
        way = mutate(folder / name, draw, parses=name != "best.ckpt")
        try:
            trained = load(folder)
            card(folder, trained.meta, "onnx", "a.onnx")
        except ConvgridError as error:
            told = str(error)
        except Exception as error:
            error.add_note(f"{name}, {way}")
            raise
        else:
            told = ""
            found = trained.predictor.state_dict()
            assert all(torch.equal(found[key], weights[key]) for key in weights), (name, way)
        assert len(told.splitlines()) <= 2  # what is wrong, and the fix
        shutil.rmtree(folder)

    fuzz(case, share=1 / 4)


@pytest.mark.parametrize("zeros", [200, 5000])
def test_pages_of_zeros_in_a_checkpoint_are_no_weights(trained_digits: Path, tmp_path: Path, zeros: int) -> None:
    folder = Path(shutil.copytree(trained_digits, tmp_path / "a"))
    content = (folder / "best.ckpt").read_bytes()
    middle = len(content) // 2
    (folder / "best.ckpt").write_bytes(content[:middle] + b"\0" * zeros + content[middle + zeros :])
    with pytest.raises(ModelError, match=r"best\.ckpt cannot be read: .*\. Train it again, or take another run\.$"):
        load(folder)
