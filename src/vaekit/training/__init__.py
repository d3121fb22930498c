"""Training: rows and a configuration to a trained VAE, seeded, checkpointed and stopped in time."""

from vaekit.training.config import Config, TrainConfig, load_config
from vaekit.training.fit import Trained, train

__all__ = ["Config", "TrainConfig", "Trained", "load_config", "train"]
