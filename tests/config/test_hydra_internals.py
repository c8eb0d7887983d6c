from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf, open_dict

from convgrid.config import files
from convgrid.config.hydra_internals import load, make_loader

LINES = (["loss=hinge", "layer/norm=batch", "schedule=cosine"], ["arch=alexnet", "optimizer=sgd"])


def plain(config: DictConfig) -> object:
    return {key: value for key, value in OmegaConf.to_container(config).items() if key != "hydra"}  # pyright: ignore


def test_a_config_is_what_hydra_composes_however_often_and_whatever_is_done_to_it() -> None:
    with initialize_config_dir(str(files.CONF), version_base="1.3"):
        expected = [plain(compose("config", texts)) for texts in LINES]
    loader = make_loader(files.CONF, None)
    for texts, hydras in [*zip(LINES, expected, strict=True)] * 3:  # a file is kept when it is read for the second time
        composed = load(loader, "config", texts)
        assert plain(composed) == hydras, texts
        with open_dict(composed):
            composed.optimizer.clear()
            composed.layer.conv = None
            composed.loss.changed = True


def test_a_file_that_is_made_later_is_found_by_the_next_loader(tmp_path: Path) -> None:
    loader = make_loader(files.CONF, str(tmp_path))
    assert "mine" not in loader.get_group_options("loss")
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "mine.yaml").write_text("_target_: mine.Loss\n")
    assert load(make_loader(files.CONF, str(tmp_path)), "config", ["loss=mine"]).loss == {"_target_": "mine.Loss"}
