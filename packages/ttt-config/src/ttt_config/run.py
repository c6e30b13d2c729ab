"""The root: everything one run is made from."""

from typing import Annotated

from msgspec import Struct

from ttt_config.data import DataConfig
from ttt_config.model import ModelConfig
from ttt_config.option import option
from ttt_config.train import TrainConfig


class RunConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole run: the model, its training, its data and the directory it writes."""

    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    data: DataConfig = DataConfig()
    out: Annotated[str, option("directory the run writes")] = "runs/default"
